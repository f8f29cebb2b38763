"""Runs the colour normalization service: `python -m nucleate.colornorm`."""

from __future__ import annotations

import cv2
import torch

from nucleate.colornorm.service.servicer import register
from nucleate.runtime.server import ServiceSettings, run_service

if __name__ == "__main__":
    run_service("colornorm", ServiceSettings, register, torch.set_num_threads, cv2.setNumThreads)
