"""One training run's state: network, moving average, optimizer; a step, and the state as bytes."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nucleate.interactive.clicks import click_maps
from nucleate.interactive.networks.interactive_network import InteractiveNetwork
from nucleate.interactive.training import latent_diversity_losses
from nucleate.interactive.training.click_sampling import correcting_click
from nucleate.interactive.training.crops import Crop, CropSource, draw_crop
from nucleate.interactive.training.latent_diversity_losses import click_points
from nucleate.interactive.training.losses import total_loss
from nucleate.interactive.training.profiles import Profile
from nucleate.learning import averaging, checkpoint

WARM_UP = 0.1
WEIGHT_DECAY = 1e-3
DROP_PREVIOUS = 0.25
CLIP_NORM = 5.0


def seeded_network(profile: Profile, seed: int) -> InteractiveNetwork:
    """A fresh network whose weights depend on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        return InteractiveNetwork(profile.architecture)


class Trainer:
    """AdamW with a one-cycle rate; batch t is a function of (seed, t), so a resumed run repeats the same bits on a CPU."""

    def __init__(self, profile: Profile, network: InteractiveNetwork, seed: int, device: str = "cpu") -> None:
        self.profile, self.seed, self.device = profile, seed, device
        # Channels last: the convolutions of small crops take .6 of the time on a CPU.
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), weight_decay=WEIGHT_DECAY)
        self.step = 0

    def learning_rate(self, step: int) -> float:
        """Linear warm-up over a tenth of the steps, then half a cosine down to a hundredth of the peak."""
        warm = WARM_UP * self.profile.steps
        if step < warm:
            return self.profile.learning_rate * (step + 1) / (warm + 1)
        progress = (step - warm) / max(self.profile.steps - warm, 1)
        return self.profile.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    def train_step(self, sources: Sequence[CropSource]) -> float:
        """Draw batch `self.step`, correct it a few rounds, take one optimizer step; returns the loss."""
        rng = np.random.default_rng([self.seed, self.step])
        crops = [draw_crop(sources, self.profile.crop, rng, self.profile.zoom) for _ in range(self.profile.batch)]
        for _ in range(int(rng.integers(self.profile.iterations + 1))):
            self._correct(crops, rng)
        for crop in crops:
            if rng.random() < DROP_PREVIOUS:
                crop.previous = np.zeros_like(crop.previous)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.network.train()
        loss = self._loss(crops)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        self.optimizer.step()
        decay = averaging.warmup_decay(self.step, 1 - 20 / max(self.profile.steps, 40))
        averaging.update_average(self.average, self.network, decay)
        self.step += 1
        return float(loss.detach())

    def _loss(self, crops: Sequence[Crop]) -> Tensor:
        target_BHW = self._tensor([crop.nucleus for crop in crops])
        valid_BHW = self._tensor([crop.valid for crop in crops])
        if self.profile.architecture.masks > 1:
            candidates = self.network.candidate_masks(*self._inputs(crops))
            points_B2HW = click_points([crop.clicks for crop in crops], *target_BHW.shape[1:]).to(self.device)
            return latent_diversity_losses.total_loss(candidates, target_BHW, valid_BHW, points_B2HW)
        logits_B1HW, auxiliary_B2HW = self.network(*self._inputs(crops))
        return total_loss(
            logits_B1HW,
            auxiliary_B2HW,
            target_BHW,
            valid_BHW,
            pixel_loss=self.profile.pixel_loss,
            iou_weight=self.profile.iou_weight,
        )

    def _correct(self, crops: Sequence[Crop], rng: np.random.Generator) -> None:
        """One more click per crop where the network is wrong now; its mask becomes the previous mask."""
        self.network.eval()
        with torch.no_grad():
            logits_B1HW, _ = self.network(*self._inputs(crops))
        for crop, mask_HW in zip(crops, (logits_B1HW[:, 0] > 0).cpu().numpy(), strict=True):
            click = correcting_click(crop.nucleus, mask_HW, crop.clicks, rng)
            if click is not None:
                crop.clicks.append(click)
                crop.previous = mask_HW

    def _inputs(self, crops: Sequence[Crop]) -> tuple[Tensor, Tensor, Tensor]:
        size = self.profile.crop
        image_BHW3 = self._tensor([crop.image for crop in crops])
        clicks_B2HW = self._tensor([click_maps(crop.clicks, size, size, self.profile.architecture.clicks) for crop in crops])
        previous_BHW = self._tensor([crop.previous for crop in crops])
        return image_BHW3.permute(0, 3, 1, 2).contiguous() / 255, clicks_B2HW, previous_BHW[:, None]

    def _tensor(self, arrays: Sequence[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays).astype(np.float32)).to(self.device)

    def state(self) -> bytes:
        """Everything the next step depends on, as safetensors."""
        tensors = {"step": torch.tensor(self.step)}
        tensors |= checkpoint.prefixed("network/", self.network.state_dict())
        tensors |= checkpoint.prefixed("average/", self.average.state_dict())
        tensors |= checkpoint.prefixed("optimizer/", checkpoint.moments(self.optimizer, "/"))
        return checkpoint.to_bytes(tensors)

    def restore(self, state: bytes) -> None:
        """Continue from `state`.

        Raises:
            errors.CorruptBlob: it is not of this training.
        """
        with checkpoint.opened(state, "interactive") as tensors:
            self.network.load_state_dict(checkpoint.under("network/", tensors))
            self.average.load_state_dict(checkpoint.under("average/", tensors))
            checkpoint.restore_moments(self.optimizer, checkpoint.under("optimizer/", tensors), "/")
            self.step = int(tensors["step"])
