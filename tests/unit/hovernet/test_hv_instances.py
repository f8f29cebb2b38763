"""Instances from maps: ideal maps give back their nuclei, and hover_net's own steps agree."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.segmentation import watershed
from tests.unit.hovernet import slow_hv_instances
from tests.unit.hovernet.tissue import draw

from nucleate import errors
from nucleate.hovernet.postprocessing.hv_instances import CLEAN, PUBLISHED, PostProcessing, instances
from nucleate.hovernet.postprocessing.watershed import marker_watershed
from nucleate.hovernet.training.targets import hv_maps
from nucleate.pathology.instances.nucleus_records import nucleus_records
from nucleate.pathology.metrics import dice_aji_pq


def noisy_maps(seed):
    _, truth = draw(160, 40, seed)
    rng = np.random.default_rng(seed)
    hv = np.stack([cv2.GaussianBlur(plane, (5, 5), 1) for plane in hv_maps(truth)]) + rng.normal(0, 0.05, (2, 160, 160))
    nuclear = cv2.GaussianBlur((truth > 0).astype(np.float32), (3, 3), 1)
    return truth, nuclear, hv.astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_published_steps_give_the_published_instances(seed):
    truth, nuclear, hv = noisy_maps(seed)
    found, expected = instances(nuclear, hv, PUBLISHED), slow_hv_instances.instances(nuclear, hv)
    scores = dice_aji_pq.score(expected, found)
    assert scores.dq == 1, "every nucleus of the published steps is found, and no other"
    assert ((found > 0) == (expected > 0)).all()
    assert scores.aji > 0.999, "float32 moves hardly a pixel of a seam"
    assert dice_aji_pq.score(truth, found).aji > 0.85
    turned = instances(np.asfortranarray(nuclear), np.asfortranarray(hv), PUBLISHED)
    assert (turned == found).all(), "the memory layout does not matter"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flooding_on_a_sheet_equals_flooding_the_image(data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))
    mask = data.draw(hnp.arrays(np.bool_, shape))
    markers = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 6), fill=st.just(0)))
    # No two pixels alike: markers on one plateau are flooded in an order that depends on the whole image's heap.
    order = data.draw(st.permutations(range(mask.size)))
    energy = np.array(order, np.float32).reshape(shape)
    pixels, labels = marker_watershed(energy, markers, mask)
    found = np.zeros(shape, np.int32)
    found.ravel()[pixels] = labels
    assert (found == watershed(energy, markers, mask=mask)).all()


@pytest.mark.parametrize("seed", range(2))
def test_the_dictionary_equals_one_mask_per_nucleus(seed):
    _, nuclear, hv = noisy_maps(seed)
    found = instances(nuclear, hv)
    found[found == 3] = 0
    types = np.random.default_rng(seed).choice(4, found.shape, p=(0.7, 0.1, 0.1, 0.1))
    expected = slow_hv_instances.dictionary(found, nuclear, types)
    entries = nucleus_records(found, nuclear, types)
    assert [entry.label for entry in entries] == list(expected)
    for entry in entries:
        true = expected[entry.label]
        assert entry.box == true["box"]
        assert entry.centroid == pytest.approx(true["centroid"])
        assert entry.probability == pytest.approx(true["probability"])
        assert entry.type_probability == pytest.approx(true["kind_probability"])  # the class itself, unless two tie
        if ndimage.label(found == entry.label)[1] == 1:
            assert (entry.contour == true["contour"]).all()
    assert all(entry.type == 0 for entry in nucleus_records(found, nuclear))


def test_the_contour_is_that_of_the_largest_part():
    parts = np.zeros((20, 20), np.int32)
    parts[2:4, 2:4] = parts[8:16, 9:18] = 1
    (entry,) = nucleus_records(parts, np.ones((20, 20), np.float32))
    assert entry.box == (2, 2, 16, 18)
    assert {tuple(point) for point in entry.contour} == {(9, 8), (17, 8), (17, 15), (9, 15)}
    assert nucleus_records(np.zeros((5, 5), np.int32), np.zeros((5, 5))) == []
    with pytest.raises(errors.SizeMismatch):
        nucleus_records(parts, np.ones((20, 21)))


def test_touching_nuclei_are_two_without_any_background_between():
    truth = np.zeros((60, 60), np.int32)
    truth[20:40, 10:30], truth[20:40, 30:50] = 1, 2
    found = instances((truth > 0).astype(np.float32), hv_maps(truth))
    assert dice_aji_pq.score(truth, found).aji > 0.95


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
    assert dice_aji_pq.score(truth, instances(nuclear, hv_maps(truth), PostProcessing(hole=100))).aji > 0.95
    assert instances(nuclear, hv_maps(truth), PostProcessing(hole=99))[20, 20] == 0


def test_no_nucleus_is_an_empty_map():
    flat, hv = np.zeros((40, 40), np.float32), np.zeros((2, 40, 40), np.float32)
    assert not instances(flat, hv).any()
    assert not instances(flat, hv, CLEAN).any()
    assert not instances(flat[:1, :1], hv[:, :1, :1]).any()


@pytest.mark.parametrize(
    ("nuclear", "hv", "error", "words"),
    [
        (1.0, 0.0, errors.InvalidInput, "constant"),
        (np.nan, 0.0, errors.InvalidInput, "not finite"),
        (1.0, np.inf, errors.InvalidInput, "not finite"),
        (7.0, 0.0, errors.InvalidInput, "not logits"),
        (-7.0, 0.0, errors.InvalidInput, "not logits"),
    ],
)
def test_broken_maps_are_errors_not_zero_nuclei(nuclear, hv, error, words):
    maps = np.zeros((40, 40), np.float32), np.zeros((2, 40, 40), np.float32)
    maps[0][5:20, 5:20], maps[1][:, 5:20, 5:20] = nuclear, hv
    with pytest.raises(error, match=words):
        instances(*maps)


def test_maps_of_other_shapes_are_errors():
    flat, hv = np.zeros((40, 40), np.float32), np.zeros((2, 40, 40), np.float32)
    with pytest.raises(errors.SizeMismatch):
        instances(flat, hv[:, 1:])
    with pytest.raises(errors.InvalidInput, match="shape"):
        instances(flat[:0], hv[:, :0])
