"""Runs the interactive service: `python -m nucleate.interactive`."""

from __future__ import annotations

from nucleate.interactive.service.servicer import register
from nucleate.interactive.service.settings import InteractiveSettings
from nucleate.runtime.server import read_settings, serve

if __name__ == "__main__":
    serve("interactive", read_settings("interactive", InteractiveSettings), register)
