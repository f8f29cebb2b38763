"""Runs the synthesis service: `python -m nucleate.synthesis`."""

from __future__ import annotations

import cv2

from nucleate.runtime.server import run_service
from nucleate.synthesis.service.servicer import register
from nucleate.synthesis.service.settings import SynthesisSettings

if __name__ == "__main__":
    cv2.setNumThreads(1)  # one image per thread is faster than many threads per image
    run_service("synthesis", SynthesisSettings, register)
