"""Where tests find the real evaluation images; they are never part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = Path(os.environ.get("NUCLEATE_DATA", ROOT.parent / "shared" / "data"))
MONUSEG = SHARED_DATA / "monuseg"

needs_data = pytest.mark.skipif(not MONUSEG.is_dir(), reason=f"real H&E images not found at {SHARED_DATA}; set NUCLEATE_DATA")
