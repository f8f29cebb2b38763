"""Instances from maps: ideal maps give back their nuclei, and hover_net's own steps agree."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.hovernet.postprocess import PostProcessing, instances
from nucleate.hovernet.targets import hv_maps
from nucleate.pathology import metrics


def hover_net(nuclear, hv):
    """The published steps over the whole image in float64 (Graham et al. 2019, section 3.2)."""

    def unit(plane):
        return (plane - plane.min()) / (plane.max() - plane.min())

    def large(mask, smallest=10):
        labels, count = ndimage.label(mask)
        sizes = ndimage.sum_labels(mask, labels, np.arange(count + 1))
        return (sizes >= smallest)[labels] & mask

    blob = large(nuclear >= 0.5)
    across, down = (1 - unit(cv2.Sobel(unit(hv[i]), cv2.CV_64F, 1 - i, i, ksize=21)) for i in (0, 1))
    edges = np.maximum(np.maximum(across, down) - ~blob, 0)
    energy = -cv2.GaussianBlur((1 - edges) * blob, (3, 3), 0)
    marker = ndimage.binary_fill_holes(blob & (edges < 0.4)).astype(np.uint8)
    marker = cv2.morphologyEx(marker, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    return watershed(energy, ndimage.label(large(marker > 0))[0], mask=blob)


def noisy_maps(seed):
    _, truth = draw(160, 40, seed)
    rng = np.random.default_rng(seed)
    hv = np.stack([cv2.GaussianBlur(plane, (5, 5), 1) for plane in hv_maps(truth)]) + rng.normal(0, 0.05, (2, 160, 160))
    nuclear = cv2.GaussianBlur((truth > 0).astype(np.float32), (3, 3), 1)
    return truth, nuclear, hv.astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_hover_net_and_finds_the_nuclei(seed):
    truth, nuclear, hv = noisy_maps(seed)
    found = instances(nuclear, hv, PostProcessing(fragment=0.0))
    assert metrics.score(hover_net(nuclear, hv.astype(np.float64)), found).pq > 0.995
    assert metrics.score(truth, found).aji > 0.85


def test_touching_nuclei_are_two_without_any_background_between():
    truth = np.zeros((60, 60), np.int32)
    truth[20:40, 10:30], truth[20:40, 30:50] = 1, 2
    found = instances((truth > 0).astype(np.float32), hv_maps(truth))
    assert metrics.score(truth, found).aji > 0.95


def test_fragments_far_below_the_typical_nucleus_go():
    truth = np.zeros((60, 60), np.int32)
    truth[10:30, 10:30], truth[45:50, 45:50] = 1, 2
    maps = (truth > 0).astype(np.float32), hv_maps(truth)
    assert instances(*maps, PostProcessing(fragment=0.15)).max() == 1
    assert instances(*maps, PostProcessing(fragment=0.0)).max() == 2


def test_a_pale_centre_is_filled_but_not_the_space_between_nuclei():
    truth = np.zeros((60, 60), np.int32)
    truth[10:30, 10:30] = 1
    nuclear = (truth > 0).astype(np.float32)
    nuclear[15:25, 15:25] = 0.0
    assert metrics.score(truth, instances(nuclear, hv_maps(truth), PostProcessing(hole=100))).aji > 0.95
    assert instances(nuclear, hv_maps(truth), PostProcessing(hole=99))[20, 20] == 0


def test_no_nucleus_is_an_empty_map_but_broken_maps_are_errors():
    flat, hv = np.zeros((40, 40), np.float32), np.zeros((2, 40, 40), np.float32)
    assert not instances(flat, hv).any()
    with pytest.raises(errors.InvalidInput, match="constant"):
        instances(flat + 1, hv)
    with pytest.raises(errors.InvalidInput, match="not finite"):
        instances(flat + np.nan, hv)
    with pytest.raises(errors.SizeMismatch):
        instances(flat, hv[:, 1:])
