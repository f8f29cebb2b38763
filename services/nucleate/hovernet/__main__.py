"""Runs the HoVer-Net service: `python -m nucleate.hovernet`."""

from __future__ import annotations

import cv2
import torch

from nucleate.hovernet.service.servicer import register
from nucleate.hovernet.service.settings import HoverNetSettings
from nucleate.runtime.server import run_service

if __name__ == "__main__":
    run_service("hovernet", HoverNetSettings, register, torch.set_num_threads, cv2.setNumThreads)
