"""Training of the interactive model on a dataset without ground truth (report section 3.2.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nucleate import errors
from nucleate.dataset.manifest import BlobRef, Dataset
from nucleate.interactive.networks.encoder_runtime import TorchBackbone
from nucleate.interactive.networks.interactive_network import InteractiveNetwork
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.predictor import Predictor
from nucleate.interactive.training.click_simulation import iou_after, simulate_clicks
from nucleate.interactive.training.crops import CropSource, load_sources
from nucleate.interactive.training.profiles import Profile
from nucleate.interactive.training.trainer import Trainer, seeded_network


class TrainingJob(Protocol):
    """What training needs of the job it runs in."""

    def progress(self, step: int, total: int, stage: str = "", **values: float) -> None:
        """Report; raises when the job is cancelled."""

    def checkpoint(self, data: bytes) -> None:
        """Keep the state to go on from."""

    def restored(self) -> bytes | None:
        """State of an interrupted attempt."""


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """The averaged network in inference mode, and metrics on the validation part."""

    network: InteractiveNetwork
    metrics: dict[str, float]


def train(
    dataset: Dataset,
    read: Callable[[BlobRef], bytes],
    profile: Profile,
    seed: int,
    job: TrainingJob,
    *,
    initial: InteractiveNetwork | None = None,
    device: str = "cpu",
) -> TrainingResult:
    """Train on the `train` part, measure on the `val` part; no label but the dataset's own is read.

    Args:
        dataset: manifest; a sample's weight is its chance to be drawn (the loss weighted in expectation).
        read: fetches blobs, fenced from sealed data.
        profile: sizes and steps.
        seed: batches and first weights depend on it only.
        job: progress, checkpoints; a restored checkpoint continues to the same bits on a CPU with the same threads.
        initial: network to start from, of the profile's architecture.
        device: `cpu` or `cuda`.

    Raises:
        errors.InvalidDataset: nothing to train on.
        errors.InvalidModel: `initial` has another architecture.
    """
    if initial is not None and initial.config != profile.architecture:
        raise errors.InvalidModel("the initial model has another architecture than the profile: leave it out or change profile")
    job.progress(0, profile.steps, "loading")
    sources = load_sources(dataset.part("train"), read)
    trainer = Trainer(profile, initial or seeded_network(profile, seed), seed, device)
    if state := job.restored():
        trainer.restore(state)
    loss = 0.0
    while trainer.step < profile.steps:
        loss = trainer.train_step(sources)
        if not np.isfinite(loss):
            raise errors.Precondition(f"the loss is not finite at step {trainer.step}: check the dataset or the initial model")
        job.progress(trainer.step, profile.steps, "training", loss=loss)
        if trainer.step % profile.checkpoint_every == 0 and trainer.step < profile.steps:
            job.checkpoint(trainer.state())
    job.progress(profile.steps, profile.steps, "validating")
    held_out = dataset.part("val") or dataset.part("train")
    metrics = validate(trainer.average, load_sources(held_out, read), profile, seed, device)
    return TrainingResult(trainer.average.cpu(), {"loss": loss, **metrics})


def validate(
    network: InteractiveNetwork, sources: Sequence[CropSource], profile: Profile, seed: int, device: str = "cpu"
) -> dict[str, float]:
    """Mean IoU after 1 and 3 simulated clicks, f-BRS included, on nuclei drawn from `sources`."""
    predictor = Predictor(network, TorchBackbone(network.encoder, device), profile.crop, device=device)
    rng = np.random.default_rng([seed, 1])
    everything = [(source, label) for source in sources for label, _, _ in source.nuclei]
    chosen = rng.permutation(len(everything))[: profile.validation]
    first, third = [], []
    for index in sorted(chosen.tolist()):
        source, label = everything[index]
        predictor.set_image(source.sample.image)
        rounds = simulate_clicks(predictor, ObjectMask.from_array(source.sample.instances == label), 3)
        first.append(iou_after(rounds, 1))
        third.append(iou_after(rounds, 3))
    return {
        "iou_1_click": float(np.mean(first)),
        "iou_3_clicks": float(np.mean(third)),
        "validation_nuclei": float(len(chosen)),
    }
