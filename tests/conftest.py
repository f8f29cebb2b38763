"""Property tests draw the same examples every time; HYPOTHESIS_PROFILE=explore draws others."""

from __future__ import annotations

import os

from hypothesis import settings

# A machine may be busy: how long an example takes says nothing.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
