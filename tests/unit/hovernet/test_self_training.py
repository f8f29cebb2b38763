"""Self-training of the pool: whose borders the labels get."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from tests.unit.hovernet.tissue import draw

from nucleate.hovernet.inference.sliding_window import Tiling
from nucleate.hovernet.networks.hovernet import Architecture
from nucleate.hovernet.postprocessing.hv_instances import CLEAN
from nucleate.hovernet.training import targets
from nucleate.hovernet.training.self_training import SelfTrainingConfig, relabel_pool
from nucleate.hovernet.training.window_sampling import TrainingSample

SIDE = 192
IMAGE, TRUTH = draw(SIDE, 14, 1)


class Swollen:
    """A teacher that draws every nucleus three pixels too large."""

    arch = Architecture(width=0.0625, stem_stride=2, units=(1, 1, 1, 1), dense=(1, 1))

    def __init__(self) -> None:
        grown = cv2.dilate(TRUTH.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(np.int32)
        self.labels = np.where(TRUTH > 0, TRUTH, grown)
        maps = np.concatenate([(self.labels > 0).astype(np.float32)[None], targets.hv_maps(self.labels)])
        self._maps_13HW = torch.from_numpy(maps)[None]

    def maps(self, image_B4HW: torch.Tensor) -> torch.Tensor:
        assert image_B4HW.shape == (1, 4, SIDE, SIDE)
        return self._maps_13HW


class Silent:
    def progress(self, step: int, total: int, stage: str = "", **values: float) -> None: ...


def sample(origin: str) -> TrainingSample:
    return TrainingSample(IMAGE, TRUTH, np.zeros(TRUTH.shape, np.bool_), origin)


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.fixture
def how():
    return SelfTrainingConfig(tiling=Tiling(tile=256, overlap=0, views=(0,)), post=CLEAN, contours=True)


def test_without_accepted_masks_borders_come_from_the_image(how):
    teacher = Swollen()
    drawn = relabel_pool([sample("pseudo")], teacher, how, Silent(), (1, 2))[0]
    own = relabel_pool([sample("pseudo")], teacher, dataclasses.replace(how, contours=False), Silent(), (1, 2))[0]
    for labels, fits in ((own, False), (drawn, True)):
        counted = ~labels.ignore
        assert (overlap(labels.instances[counted] > 0, TRUTH[counted] > 0) > 0.8) is np.bool_(fits)
    assert drawn.instances.max() >= 0.7 * TRUTH.max()
    # What the teacher takes for nuclear and no outline covers is no background.
    assert drawn.ignore[(teacher.labels > 0) & (drawn.instances == 0)].all()
    assert not drawn.ignore[drawn.instances > 0].any()


def test_accepted_masks_have_taught_borders(how):
    samples = [sample("pseudo"), sample("accepted"), sample("synthetic")]
    new = relabel_pool(samples, Swollen(), how, Silent(), (1, 2))
    own = relabel_pool(samples[:1], Swollen(), dataclasses.replace(how, contours=False), Silent(), (1, 2))[0]
    assert np.array_equal(new[0].instances, own.instances)
    assert new[1] is samples[1]
    assert new[2] is samples[2]


def test_without_a_teacher_nothing_changes(how):
    samples = [sample("pseudo")]
    assert relabel_pool(samples, None, how, Silent(), (1, 2))[0] is samples[0]
