"""Runs the refiner service: `python -m nucleate.refiner`."""

from __future__ import annotations

import cv2
import torch

from nucleate.refiner.service.servicer import register
from nucleate.refiner.service.settings import RefinerSettings
from nucleate.runtime.server import run_service

if __name__ == "__main__":
    run_service("refiner", RefinerSettings, register, torch.set_num_threads, cv2.setNumThreads)
