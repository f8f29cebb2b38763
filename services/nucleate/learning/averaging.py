"""The exponential moving average of a network's weights."""

from __future__ import annotations

from torch import nn


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Average = decay * average + (1 - decay) * network for every weight; counters are copied."""
    current = network.state_dict()
    for name, mean in average.state_dict().items():
        if mean.is_floating_point():
            mean.lerp_(current[name], 1.0 - decay)
        else:
            mean.copy_(current[name])


def warmup_decay(step: int, decay: float) -> float:
    """Decay at `step`, rising from .1 to `decay` so that the random start is soon forgotten."""
    return min(decay, (1.0 + step) / (10.0 + step))
