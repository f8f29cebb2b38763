"""Tissue and settings that SinGAN is tested on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from nucleate.refiner.singan.settings import PRESETS
from nucleate.synthesis.phantom.tissue import draw_tissue

TINY = PRESETS["tiny"]
SHORT = replace(TINY, steps=3)
CPU = torch.device("cpu")


def tissue(side=40):
    return np.ascontiguousarray(draw_tissue(3, 96)[0][:side, :side])


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
