"""What every refiner test runs under."""

from __future__ import annotations

import pytest
import torch
from tests.unit.refiner.singan_models import TINY, tissue

from nucleate.refiner.singan.training import train


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trained():
    """SinGAN trained on tissue by the tiny preset, and (step, total, losses) of every step; not to be changed."""
    losses = []
    torch.set_num_threads(1)
    model = train(tissue(), TINY, 7, on_step=lambda step, total, found: losses.append((step, total, found)))
    return model, losses
