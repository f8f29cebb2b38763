"""What synthetic pairs are worth: how a classifier tells them from real, and what HoVer-Net learns from them alone.

    python -m tests.bench.bench_downstream [--pairs 80] [--steps 240] [--seed 0] [--arms default,refined,report,report-refined]
        [--synthesis restained=0.5 …] [--refiner steps=700 …] [--sheet DIR] [--data DIR]

Every arm has the same steps, seed and number of pairs, all drawn after the images of DIR/pool; the masks of DIR/eval score. A
refiner is trained by its `cpu` profile on the arm's pairs and the pool's images. `--synthesis` and `--refiner` change
fields of the default's and the refiner's profile; `--steps 0` leaves HoVer-Net out; `--sheet` writes a contact sheet an arm.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tests.bench.supervised import Report, pairs, say
from tests.paths import MONUSEG

from nucleate.hovernet import profiles
from nucleate.hovernet.segmentation import image_segmentation
from nucleate.hovernet.segmentation.image_segmentation import NetworkSegmenter
from nucleate.hovernet.training.loop import Stage, train
from nucleate.hovernet.training.window_sampling import TrainingSample
from nucleate.pathology.images.codec import encode_png
from nucleate.pathology.images.overlays import mosaic
from nucleate.pathology.metrics import dice_aji_pq
from nucleate.refiner import profiles as refiner_profiles
from nucleate.refiner.inference import refine_image
from nucleate.refiner.mask_gate.gate import verify_refinement
from nucleate.refiner.training import loop as refining
from nucleate.refiner.training.crops import SyntheticImage, TrainingImages
from nucleate.refiner.training.state import TrainingState
from nucleate.synthesis.generation.batch import Batch, ReferenceCache, Source
from nucleate.synthesis.profiles import Profile, profile_named
from nucleate.synthesis.realism.assess import Picture, assess

P = TypeVar("P", Profile, refiner_profiles.Profile)

ARMS = {"default": "cpu", "refined": "cpu", "report": "report", "report-refined": "report"}
CPU = torch.device("cpu")
CROPS = 24
Labelled = tuple[np.ndarray, np.ndarray]


def changed(profile: P, fields: Sequence[str]) -> P:
    """The profile with NAME=VALUE fields, each of the type that it has."""
    values = dict(field.split("=", 1) for field in fields)
    return dataclasses.replace(profile, **{name: type(getattr(profile, name))(value) for name, value in values.items()})


def drawn(pool: Sequence[np.ndarray], profile: Profile, count: int, seed: int) -> list[SyntheticImage]:
    sources = [Source(f"pool {k}", str(k), lambda rgb=rgb: rgb) for k, rgb in enumerate(pool)]
    batch = Batch(sources, count, seed, profile, 2, ReferenceCache(len(pool)))
    images = (image for group in batch.groups() for image in batch.images(group))
    return [SyntheticImage(f"pair {each.provenance['index']}", each.image, each.instances) for each in images]


def refined(
    synthetic: list[SyntheticImage], pool: Sequence[np.ndarray], profile: refiner_profiles.Profile, seed: int
) -> list[SyntheticImage]:
    """Each image refined, or as it was where the mask gate refuses."""
    began = time.monotonic()
    state = TrainingState(profile, seed, CPU)
    measured = refining.train(
        TrainingImages(synthetic, pool),
        profile,
        state,
        seed,
        on_step=lambda step, losses: None,
        on_checkpoint=lambda data: None,
    )
    seconds, kept, passed = time.monotonic() - began, [], 0
    for each in synthetic:
        after = refine_image(state.average.eval(), each.rgb)
        accepted = verify_refinement(each.rgb, after, each.instances).accepted
        passed += accepted
        kept.append(dataclasses.replace(each, rgb=after) if accepted else each)
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in measured.items())
    say(f"refiner: {seconds:.0f} s, {passed} of {len(kept)} pass the mask gate; {numbers}")
    return kept


def realism(synthetic: list[SyntheticImage], pool: Sequence[np.ndarray], seed: int) -> str:
    """The two-sample AUC and its company; pair k is drawn after image k mod n, and never judged by a forest that saw it."""
    made = [Picture(each.rgb, f"pool {k % len(pool)}") for k, each in enumerate(synthetic)]
    real = [Picture(rgb, f"pool {k}") for k, rgb in enumerate(pool)]
    found = assess(real, made, CROPS, seed, lambda done: None)
    low, high = found["auc_interval"]
    used = ", ".join(f"{name} {each['shift']:+.2f}" for name, each in list(found["most_used"].items())[:4])
    return (
        f"AUC {found['auc']:.3f} ({low:.3f}-{high:.3f})  colour {found['colour_distance']:.3f}  texture "
        f"{found['texture_distance']:.3f}  gradient {found['gradient_energy_ratio']:.2f}  [{used}]"
    )


def write_sheet(folder: Path, arm: str, synthetic: list[SyntheticImage], pool: Sequence[np.ndarray]) -> None:
    """Six real crops above the six synthetic images after them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [[rgb[:256, :256] for rgb in pool[:6]], [each.rgb[:256, :256] for each in synthetic[:6]]]
    (folder / f"{arm}.png").write_bytes(encode_png(mosaic(rows)))


def trained_on(
    synthetic: list[SyntheticImage],
    pool: Sequence[np.ndarray],
    tests: Sequence[Labelled],
    steps: int,
    seed: int,
) -> str:
    """HoVer-Net's scores on `tests` after that many steps on nothing but these pairs."""
    profile = profiles.named("cpu")
    config = dataclasses.replace(profile.training, stages=(Stage(steps, (("synthetic", 1.0),)),))
    samples = [TrainingSample(s.rgb, s.instances, np.zeros(s.instances.shape, np.bool_), "synthetic") for s in synthetic]
    net = train(samples, pool, profile.arch, config, seed, Report()).net
    mean = dice_aji_pq.mean(
        [
            dice_aji_pq.score(
                truth, image_segmentation.segment(NetworkSegmenter(net, profile), image, "image", ignore=False).instances
            )
            for image, truth in tests
        ]
    )
    return f"DICE1 {mean.dice1:.3f}  AJI {mean.aji:.3f}  PQ {mean.pq:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=80)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--synthesis", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--refiner", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--data", type=Path, default=MONUSEG)
    given = parser.parse_args()
    pool, tests = [image for image, _ in pairs(given.data / "pool")], pairs(given.data / "eval")
    for arm in given.arms.split(","):
        profile = profile_named(ARMS[arm])
        if ARMS[arm] == "cpu":
            profile = changed(profile, given.synthesis)
        synthetic = drawn(pool, profile, given.pairs, given.seed)
        if arm.endswith("refined"):
            synthetic = refined(synthetic, pool, changed(refiner_profiles.profile_named("cpu"), given.refiner), given.seed)
        if given.sheet:
            write_sheet(given.sheet, arm, synthetic, pool)
        say(f"{arm}: {realism(synthetic, pool, given.seed)}")
        if given.steps:
            say(f"{arm}: {trained_on(synthetic, pool, tests, given.steps, given.seed)}")


if __name__ == "__main__":
    sys.exit(main())
