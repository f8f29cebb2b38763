"""A certificate for this machine's loopback address, its own authority, made on the fly."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Pair:
    """Certificate and key as PEM files."""

    cert: Path
    key: Path


def self_signed(folder: Path, name: str = "localhost", names: str = "IP:127.0.0.1,DNS:localhost") -> Pair:
    """Make a pair that is valid for a day; skips the test where there is no openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    files = ["-keyout", str(pair.key), "-out", str(pair.cert)]
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={names}"]
    subprocess.run([openssl, "req", *options, *files, *subject], check=True, capture_output=True)
    return pair
