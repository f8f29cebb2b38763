from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate.interactive.clicks import Click
from nucleate.interactive.networks.encoder_runtime import TorchBackbone
from nucleate.interactive.networks.interactive_network import InteractiveNetwork
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.predictor import Predictor
from nucleate.interactive.prediction.working_resolution import MAX_FACTOR, MAX_PIXELS, WORKING_RADIUS, Resampling
from nucleate.interactive.prediction.zoom_in import Frame
from nucleate.interactive.training.profiles import PROFILES
from nucleate.pathology.instances.mask_iou import intersection_over_union
from nucleate.pathology.instances.typical_radius import image_typical_radius
from nucleate.synthesis.phantom.tissue import draw_tissue

factors = st.floats(1.1, 2.0)


def a_disk(size: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def test_small_nuclei_are_enlarged_to_the_working_radius_within_limits():
    assert Resampling.to_working_radius(12, 500, 500).factor == pytest.approx(WORKING_RADIUS / 12)
    assert Resampling.to_working_radius(5, 500, 500).factor == MAX_FACTOR
    for radius, height, width in ((17.5, 500, 500), (30, 500, 500), (5, 4096, 4096)):
        assert Resampling.to_working_radius(radius, height, width).factor == 1
    factor = Resampling.to_working_radius(5, 3000, 4000).factor
    assert 1.1 < factor < MAX_FACTOR
    assert factor**2 * 3000 * 4000 <= 1.001 * MAX_PIXELS


@given(factors, st.integers(20, 200), st.data())
@settings(max_examples=60, deadline=None)
def test_every_pixel_has_its_own_enlarged_pixel_in_the_enlarged_image(factor, width, data):
    by = Resampling(factor)
    enlarged = by.enlarge_image(np.zeros((24, width, 3), np.uint8))
    x = data.draw(st.integers(0, width - 2))
    left, right = (by.enlarge_click(Click(column, 23, positive=True)) for column in (x, x + 1))
    assert left.x < right.x < enlarged.shape[1]
    assert left.y < enlarged.shape[0]


@given(factors, st.floats(5, 20), st.integers(-6, 60), st.integers(-6, 60))
@settings(max_examples=60, deadline=None)
def test_an_object_survives_the_way_there_and_back(factor, radius, x, y):
    by, mask = Resampling(factor), ObjectMask.from_array(a_disk(64, 32, 31, radius), x, y)
    there = by.enlarge_object(mask)
    assert there.area == pytest.approx(mask.area * factor**2, rel=0.2)
    frame = Frame(there.x - 20, there.y - 20, there.bits.shape[1] + 60)
    image_frame, back_HW = by.reduce(frame, there.crop(frame.x, frame.y, frame.size, frame.size).astype(np.float32))
    seen = mask.crop(image_frame.x, image_frame.y, image_frame.size, image_frame.size)
    assert seen.sum() == mask.area
    assert intersection_over_union(back_HW > 0.5, seen) > 0.9


def test_labels_and_truth_values_keep_their_values_and_places():
    labels = np.zeros((40, 50), np.int32)
    labels[10:20, 30:44] = 70_000
    by = Resampling(1.5)
    enlarged = by.enlarge_labels(labels)
    assert enlarged.shape == (60, 75)
    assert set(np.unique(enlarged)) == {0, 70_000}
    assert enlarged[15:30, 45:66].all()
    assert (by.enlarge_mask(labels > 0) == (enlarged > 0)).all()
    assert Resampling(1.0).enlarge_labels(labels) is labels


@pytest.fixture(scope="module")
def network() -> InteractiveNetwork:
    torch.manual_seed(0)
    return InteractiveNetwork(PROFILES["tiny"].architecture).eval().requires_grad_(requires_grad=False)


def test_masks_probabilities_and_clicks_are_of_the_image_whatever_the_network_sees(network):
    image = draw_tissue(3, 256)[0][::2, ::2].copy()
    assert image_typical_radius(image) < WORKING_RADIUS / 1.3
    predictor = Predictor(network, TorchBackbone(network.encoder), 64)
    predictor.set_image(image)
    assert predictor.nbytes > image.nbytes * 5 / 3 * 1.5
    clicks, previous_masks, delta, frame = [], [ObjectMask.empty()], None, None
    for x, y, positive in ((0, 0, True), (127, 127, True), (127, 60, True), (64, 64, False), (3, 2, False), (5, 1, True)):
        clicks.append(Click(x, y, positive))
        found = predictor.predict(clicks, previous_masks, delta, frame=frame)
        mask, delta, frame = found.mask, found.delta, found.frame
        previous_masks.append(mask)
        assert found.clicks_obeyed
        assert min(mask.x, mask.y) >= 0
        assert max(mask.x + mask.bits.shape[1], mask.y + mask.bits.shape[0]) <= 128
        seen, probability_HW = found.probability
        assert probability_HW.shape == (seen.size, seen.size)
        assert ((probability_HW >= 0) & (probability_HW <= 1)).all()


def test_a_first_click_that_cuts_a_proposal_leaves_the_rest_of_it(network):
    predictor = Predictor(network, TorchBackbone(network.encoder), 64)
    predictor.set_image(draw_tissue(3, 256)[0])
    proposal = ObjectMask.from_array(a_disk(256, 120, 120, 18))
    cut = predictor.predict([Click(134, 120, positive=False)], [proposal]).mask
    assert not cut.contains(134, 120)
    assert cut.area > proposal.area / 3
