"""Runs the robot annotator: `python -m nucleate.annotator`."""

from __future__ import annotations

from nucleate.annotator.service.servicer import register
from nucleate.annotator.service.settings import AnnotatorSettings
from nucleate.runtime.server import run_service

if __name__ == "__main__":
    run_service("annotator", AnnotatorSettings, register)
