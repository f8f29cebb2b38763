"""The supervised upper bound: the same network, steps and images as a first cycle, with the true masks for labels.

    python -m tests.bench.supervised [--profile cpu] [--seed 0] [--pretext STEPS] [--data DIR]

Its figures are what labels by hand could give, not what nucleate does: no service ever sees these masks. DIR has pool/ and
eval/, each with images/ and masks/.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tests.paths import MONUSEG

from nucleate.hovernet import profiles
from nucleate.hovernet.segmentation import image_segmentation
from nucleate.hovernet.segmentation.image_segmentation import NetworkSegmenter
from nucleate.hovernet.training.loop import Stage, train
from nucleate.hovernet.training.window_sampling import TrainingSample
from nucleate.learning.device import choose_device
from nucleate.pathology.images.codec import decode_image, decode_instances
from nucleate.pathology.metrics import dice_aji_pq


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Report:
    """Says where the training is, and keeps nothing."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def progress(self, step: int, total: int, stage: str = "", **values: float) -> None:
        if step % 60 == 0 and "loss" in values:
            say(f"{step}/{total}  loss {values['loss']:.3f}  {time.monotonic() - self.began:.0f} s")

    def checkpoint(self, data: bytes) -> None: ...

    def restored(self) -> None:
        return None


def pairs(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (
            decode_image(path.read_bytes(), path.name),
            decode_instances((folder / "masks" / f"{path.stem}.png").read_bytes(), path.name),
        )
        for path in sorted((folder / "images").iterdir())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pretext", type=int, default=0, help="steps of the label-free pretext before")
    parser.add_argument("--data", type=Path, default=MONUSEG)
    arguments = parser.parse_args()
    profile, device = profiles.named(arguments.profile), torch.device(choose_device("auto"))
    samples = [
        TrainingSample(image, truth, np.zeros(truth.shape, np.bool_), "supervised")
        for image, truth in pairs(arguments.data / "pool")
    ]
    stage = Stage(profile.training.steps, (("supervised", 1.0),))
    first = (dataclasses.replace(stage, steps=arguments.pretext, pretext=True),) if arguments.pretext else ()
    config = dataclasses.replace(profile.training, stages=(*first, stage))
    net = train(samples, [], profile.arch, config, arguments.seed, Report(), device=device).net
    scores = [
        dice_aji_pq.score(
            truth, image_segmentation.segment(NetworkSegmenter(net, profile), image, "image", ignore=False).instances
        )
        for image, truth in pairs(arguments.data / "eval")
    ]
    mean = dice_aji_pq.mean(scores)
    name = f"supervised, profile {profile.name}, seed {arguments.seed}"
    say(f"{name}: DICE1 {mean.dice1:.3f}  AJI {mean.aji:.3f}  PQ {mean.pq:.3f}")


if __name__ == "__main__":
    main()
