"""The HoVer-Net service's process."""

from __future__ import annotations

import cv2
import torch

from nucleate.hovernet.service.servicer import register
from nucleate.hovernet.service.settings import HoverNetSettings
from nucleate.runtime.server import read_settings, serve

if __name__ == "__main__":
    settings = read_settings("hovernet", HoverNetSettings)
    torch.set_num_threads(settings.compute_threads)
    cv2.setNumThreads(settings.compute_threads)
    serve("hovernet", settings, register)
