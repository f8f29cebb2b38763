"""Which keys are allowed: the same ones on a folder, in memory and on S3."""

from __future__ import annotations

import re

from nucleate.errors import InvalidInput

MAX_KEY = 900  # S3 stops at 1,024 bytes
MAX_SEGMENT = 200  # file systems stop at 255 bytes
PARTIAL = ".partial"  # where a folder store keeps files being written

_SEGMENT = re.compile(rf"[A-Za-z0-9._=+-]{{1,{MAX_SEGMENT}}}", re.ASCII)


def check_key(key: str) -> str:
    """Return `key` if it is safe on every store; raise `InvalidInput` otherwise."""
    segments = key.split("/")
    bad = next((part for part in segments if not _SEGMENT.fullmatch(part) or part in {".", ".."}), None)
    if bad is not None or len(key) > MAX_KEY or segments[0] == PARTIAL:
        raise InvalidInput(f"store key {quoted(key)} is not allowed: use segments of letters, digits and ._=+- joined by '/'")
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` if a key could start with it; raise `InvalidInput` otherwise."""
    if prefix:
        check_key(prefix + "x")
    return prefix


def quoted(key: str) -> str:
    """Quote a hostile key for a message: escaped, and cut to a readable length."""
    return ascii(key if len(key) <= 80 else key[:77] + "...")
