"""Runs the interactive service: `python -m nucleate.interactive`."""

from __future__ import annotations

from nucleate.interactive.service.servicer import register
from nucleate.interactive.service.settings import InteractiveSettings
from nucleate.runtime.server import run_service

if __name__ == "__main__":
    run_service("interactive", InteractiveSettings, register)
