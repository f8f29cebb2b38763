"""The training loop: AdamW on a one-cycle rate, averaged weights, exact resume and label-free choice of the final weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nucleate import errors
from nucleate.hovernet.networks.hovernet import Architecture, HoVerNet, Maps
from nucleate.hovernet.training import checkpoint_selection, learning_rate, losses, masked_pretraining, self_training
from nucleate.hovernet.training.augmentation import Augmentation
from nucleate.hovernet.training.losses import LossWeights
from nucleate.hovernet.training.self_training import ProgressObserver, SelfTrainingConfig
from nucleate.hovernet.training.state import TrainingState
from nucleate.hovernet.training.window_sampling import Batch, TrainingSample, WindowSampler
from nucleate.learning import averaging
from nucleate.learning.distributed import World


class TrainingObserver(ProgressObserver, Protocol):
    """What a training reports every step to; `nucleate.runtime.jobs.Job` is one."""

    def checkpoint(self, data: bytes) -> None:
        """Keeps the latest state."""

    def restored(self) -> bytes | None:
        """The state an interrupted attempt left, or None."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A number of steps and the shares of windows by origin, renormalised over the origins present.

    `frozen` keeps the encoder as it is and trains the branches only: the first of the paper's two phases (Graham et al. 2019,
    section 3.3), for a training that starts from another model. `pretext` learns without labels; see that module.
    """

    steps: int
    shares: tuple[tuple[str, float], ...]
    frozen: bool = False
    pretext: bool = False


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, with what windows and at what rate to train.

    Each of `stages` has a one-cycle schedule of its own; between two of them the average relabels the pool, as `self_training`
    says, or not at all where it is None.
    `crop` is the window's side in px, `rate` the peak of the one-cycle schedule, `clip` the largest gradient norm, `average`
    the decay of the moving average. `candidates` are the points of the training, as shares of its steps, whose averages the
    final weights are chosen from.
    """

    stages: tuple[Stage, ...]
    batch: int
    crop: int
    rate: float
    decay: float = 1e-4
    clip: float = 5.0
    average: float = 0.98
    losses: LossWeights = dataclasses.field(default_factory=LossWeights)
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    self_training: SelfTrainingConfig | None = dataclasses.field(default_factory=SelfTrainingConfig)
    candidates: tuple[float, ...] = (0.9, 1.0)
    checkpoint_every: int = 50

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The chosen network and what is worth knowing of it: final losses, the chosen step and its agreement with itself."""

    net: HoVerNet
    metrics: dict[str, float]


def train(  # noqa: PLR0917 - a training has this many parts
    samples: Sequence[TrainingSample],
    unlabelled: Sequence[NDArray[np.uint8]],
    arch: Architecture,
    config: TrainConfig,
    seed: int,
    observer: TrainingObserver,
    initial: HoVerNet | None = None,
    device: torch.device | None = None,
    world: World | None = None,
) -> TrainingResult:
    """Trains on `samples`; batch t depends on (`seed`, t) alone, so that a resumed training ends with the same bits.

    Args:
        samples: what to learn from; ignored pixels and weights count in every loss.
        unlabelled: RGB uint8 images on which the candidates' agreement with themselves is compared; the first samples if empty.
        arch: the network's architecture.
        config: the schedule.
        seed: of the initial weights and of every batch.
        observer: told of every step; keeps the checkpoints.
        initial: a network of the same architecture to start from.
        device: where to compute; the CPU by default.
        world: of the processes that share this training, all of which call this alike; their checkpoints are the same.

    Raises:
        errors.InvalidDataset: no sample to train on.
        errors.Precondition: the loss is not finite.
    """
    world = world or World()
    state = TrainingState(arch, seed, config.decay, device or torch.device("cpu"))
    if initial is not None:
        state.start_from(initial)
    if (saved := observer.restored()) is not None:
        state.restore(saved)
    labelled = False
    for first, stage in _stages(config):
        relabels, labelled = labelled, labelled or not stage.pretext
        if state.step >= first + stage.steps:
            continue
        if relabels and state.step == first:
            state.update_teacher()
        training_samples = samples
        if config.self_training is not None:
            training_samples = self_training.relabel_pool(
                samples, state.teacher, config.self_training, observer, (state.step, config.steps)
            )
        sampler = WindowSampler(training_samples, dict(stage.shares), config.crop, config.augmentation, seed, world=world)
        net = _prepare_network(state.net, stage, world)
        while state.step < first + stage.steps:
            rate = learning_rate.one_cycle(state.step - first, stage.steps, config.rate)
            batch = sampler.batch(state.step, world.share(config.batch)).to(state.device)
            if stage.pretext:
                terms = _pretext_loss_terms(net, batch.image, world.seeds(seed, state.step))
            else:
                terms = _loss_terms(net, batch, state.net.arch.margin)
            _step(state, terms, rate, config)
            observer.progress(state.step, config.steps, "training", **state.terms)
            _save_progress(state, config, observer)
    images = list(unlabelled) or [sample.image for sample in samples]
    choice = checkpoint_selection.select_checkpoint(state.average, state.candidates, images)
    return TrainingResult(choice.net, {**state.terms, "chosen_step": float(choice.step), "agreement": choice.agreement})


def _stages(config: TrainConfig) -> Iterator[tuple[int, Stage]]:
    """Each stage with the step it starts after."""
    first = 0
    for stage in config.stages:
        yield first, stage
        first += stage.steps


def _save_progress(state: TrainingState, config: TrainConfig, observer: TrainingObserver) -> None:
    """Keeps the average as a candidate and the state as a checkpoint when it is time."""
    if state.step in {round(share * config.steps) for share in config.candidates}:
        state.keep_candidate()
    if state.step % config.checkpoint_every == 0 or state.step == config.steps:
        observer.checkpoint(state.to_bytes())


def _prepare_network(net: HoVerNet, stage: Stage, world: World) -> nn.Module:
    """The network as a stage trains it."""
    net.train()
    net.encoder.train(not stage.frozen).requires_grad_(not stage.frozen)
    return world.data_parallel(net, unused=stage.pretext)


def _loss_terms(net: nn.Module, batch: Batch, margin: int) -> dict[str, Tensor]:
    batch = batch.crop_margin(margin)
    return losses.losses(_maps(net, batch.image), batch.nuclei, batch.hv, batch.weight)


def _pretext_loss_terms(net: nn.Module, image_B4HW: Tensor, seeds: tuple[int, ...]) -> dict[str, Tensor]:
    masked, mask = masked_pretraining.mask_patches(image_B4HW, seeds)
    return masked_pretraining.losses(_maps(net, masked), image_B4HW, mask)


def _maps(net: nn.Module, image_B4HW: Tensor) -> Maps:
    """The network's maps, computed in bfloat16 where a GPU does it."""
    with torch.autocast(image_B4HW.device.type, torch.bfloat16, enabled=image_B4HW.device.type == "cuda"):
        maps: Maps = net(image_B4HW)
    return maps.float()


def _step(state: TrainingState, terms: dict[str, Tensor], rate: float, config: TrainConfig) -> None:
    """One optimisation step; leaves the loss and its terms in the state."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    loss = losses.total(terms, config.losses)
    values = {"loss": loss.item()} | {name: term.item() for name, term in terms.items()}
    if not np.isfinite(values["loss"]):
        raise errors.Precondition(
            f"training diverged at step {state.step + 1} (loss {values['loss']}): train from another model or seed"
        )
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.net.parameters(), config.clip)
    state.optimizer.step()
    averaging.update_average(state.average, state.net, averaging.warmup_decay(state.step, config.average))
    state.terms = values
    state.step += 1
