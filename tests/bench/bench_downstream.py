"""What synthetic pairs are worth to HoVer-Net: trained on them alone, by the default synthesis, the report's, and refined.

    python -m tests.bench.bench_downstream [--pairs 80] [--steps 240] [--seed 0] [--arms default,report,refined] [--data DIR]

Every arm has the same steps, seed and number of pairs, all drawn after the images of DIR/pool; the masks of DIR/eval score. The
refiner is trained by its `cpu` profile on the default's pairs and the pool's images.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tests.bench.supervised import Report, pairs, say
from tests.paths import MONUSEG

from nucleate.hovernet import profiles, segmentation
from nucleate.hovernet.sampling import TrainingSample
from nucleate.hovernet.segmentation import Trained
from nucleate.hovernet.training import Stage, train
from nucleate.pathology import metrics
from nucleate.refiner import training as refining
from nucleate.refiner.crops import SyntheticImage, TrainingImages
from nucleate.refiner.gate import judge_refinement
from nucleate.refiner.inference import refine_image
from nucleate.refiner.profiles import profile_named as refiner_profile
from nucleate.refiner.state import TrainingState
from nucleate.synthesis.batch import Batch, ReferenceCache, Source
from nucleate.synthesis.profiles import profile_named

ARMS = {"default": "cpu", "report": "report", "refined": "cpu"}
CPU = torch.device("cpu")


def drawn(pool: Sequence[np.ndarray], profile: str, count: int, seed: int) -> list[SyntheticImage]:
    sources = [Source(f"pool {k}", str(k), lambda rgb=rgb: rgb) for k, rgb in enumerate(pool)]
    batch = Batch(sources, count, seed, profile_named(profile), 2, ReferenceCache(len(pool)))
    images = (image for group in batch.groups() for image in batch.images(group))
    return [SyntheticImage(f"pair {each.provenance['index']}", each.image, each.instances) for each in images]


def refined(synthetic: list[SyntheticImage], pool: Sequence[np.ndarray], seed: int) -> list[SyntheticImage]:
    """Each image refined, or as it was where the mask gate refuses."""
    profile = refiner_profile("cpu")
    state = TrainingState(profile, seed, CPU)
    measured = refining.train(
        TrainingImages(synthetic, pool),
        profile,
        state,
        seed,
        on_step=lambda step, losses: None,
        on_checkpoint=lambda data: None,
    )
    kept, passed = [], 0
    for each in synthetic:
        after = refine_image(state.average.eval(), each.rgb)
        accepted = judge_refinement(each.rgb, after, each.instances).accepted
        passed += accepted
        kept.append(dataclasses.replace(each, rgb=after) if accepted else each)
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in measured.items())
    say(f"refiner: {passed} of {len(kept)} pass the mask gate; {numbers}")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=80)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--data", type=Path, default=MONUSEG)
    given = parser.parse_args()
    pool, tests = [image for image, _ in pairs(given.data / "pool")], pairs(given.data / "eval")
    profile = profiles.named("cpu")
    config = dataclasses.replace(profile.training, stages=(Stage(given.steps, (("synthetic", 1.0),)),))
    for arm in given.arms.split(","):
        synthetic = drawn(pool, ARMS[arm], given.pairs, given.seed)
        if arm == "refined":
            synthetic = refined(synthetic, pool, given.seed)
        samples = [TrainingSample(s.rgb, s.instances, np.zeros(s.instances.shape, np.bool_), "synthetic") for s in synthetic]
        net = train(samples, pool, profile.arch, config, given.seed, Report()).net
        mean = metrics.mean(
            [
                metrics.score(truth, segmentation.segment(Trained(net, profile), image, "image", ignore=False).instances)
                for image, truth in tests
            ]
        )
        say(f"{arm}: DICE1 {mean.dice1:.3f}  AJI {mean.aji:.3f}  PQ {mean.pq:.3f}")


if __name__ == "__main__":
    sys.exit(main())
