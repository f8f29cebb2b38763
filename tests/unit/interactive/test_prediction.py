from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate import errors
from nucleate.interactive.clicks import Click
from nucleate.interactive.networks.encoder_runtime import TorchBackbone
from nucleate.interactive.networks.interactive_network import InteractiveNetwork
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.mask_postprocessing import postprocess_mask
from nucleate.interactive.prediction.predictor import Predictor
from nucleate.interactive.prediction.result import deduplicate_clicks
from nucleate.interactive.prediction.zoom_in import MAX_SIZE, centred_frame, frame_for
from nucleate.interactive.refinement import Method, RefinementOptions
from nucleate.interactive.service.model_cache import set_torch_threads
from nucleate.interactive.training.profiles import PROFILES


@pytest.fixture(scope="module")
def network() -> InteractiveNetwork:
    torch.manual_seed(0)
    return InteractiveNetwork(PROFILES["tiny"].architecture).eval().requires_grad_(requires_grad=False)


@pytest.fixture
def predictor(network) -> Predictor:
    predictor = Predictor(network, TorchBackbone(network.encoder), 64)
    predictor.set_image(np.random.default_rng(0).integers(0, 255, (90, 110, 3), np.uint8))
    return predictor


points = st.tuples(st.integers(0, 31), st.integers(0, 31))


@given(st.dictionaries(points, st.booleans(), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_finished_mask_obeys_every_click(placed, seed):
    rng = np.random.default_rng(seed)
    clicks = [Click(x, y, positive) for (x, y), positive in placed.items()]
    locked = np.zeros((32, 32), bool)
    locked[:, :6] = True
    for click in clicks:
        if click.positive:
            locked[click.y, click.x] = False
    previous = np.zeros((32, 32), bool)
    for count in range(1, len(clicks) + 1):
        previous = mask = postprocess_mask(rng.random((32, 32), np.float32), clicks[:count], locked, previous)
    assert not (mask & locked).any()
    assert all(mask[c.y, c.x] == c.positive for c in clicks)


def test_only_clicked_components_stay_and_holes_are_filled_unless_asked_for():
    probability = np.zeros((32, 32), np.float32)
    probability[4:15, 4:15] = 1
    probability[8:11, 8:11] = 0
    probability[20:28, 20:28] = 1
    nothing = np.zeros((32, 32), bool)
    mask = postprocess_mask(probability, [Click(5, 5, positive=True)], nothing, nothing)
    assert mask[4:15, 4:15].all()
    assert mask.sum() == 121
    hole = postprocess_mask(probability, [Click(5, 5, positive=True), Click(9, 9, positive=False)], nothing, nothing)
    assert not hole[8:11, 8:11].any()
    proposal = np.zeros((32, 32), bool)
    proposal[20:30, 20:30] = True
    probability[20:24, 20:22] = 0  # the network would also drop what nobody complained about
    cut = postprocess_mask(probability, [Click(29, 29, positive=False)], nothing, proposal)
    assert cut[20:28, 20:28].all()
    assert not cut[:16].any()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 299), st.integers(0, 299))
def test_frames_stay_inside_images_that_are_large_enough(height, width, x, y):
    frame = centred_frame(x, y, 96, height, width)
    for start, length in ((frame.x, width), (frame.y, height)):
        assert (0 <= start <= length - 96) if length > 96 else (start <= 0 and start + 96 >= length)
    image = np.arange(height * width, dtype=np.int64).reshape(height, width, 1).astype(np.uint8)
    assert frame.pixels(image).shape == (96, 96, 1)


def test_frames_grow_with_the_mask_up_to_the_largest():
    clicks = [Click(300, 300, positive=True)]
    sizes = [frame_for(ObjectMask(300, 300, np.ones((s, s), bool)), clicks, 96, 900, 900).size for s in (20, 80, 150, 700)]
    assert sizes == [96, 128, 224, MAX_SIZE]
    assert frame_for(ObjectMask.empty(), clicks, 96, 900, 900).x == 252


def test_each_click_is_obeyed_at_corners_and_in_row_and_column_zero(predictor):
    previous_masks, delta, clicks = [ObjectMask.empty()], None, []
    for click in [Click(0, 0, positive=True), Click(109, 0, positive=False), Click(0, 40, positive=False), Click(3, 89, True)]:
        clicks.append(click)
        prediction = predictor.predict(clicks, previous_masks, delta)
        mask, delta = prediction.mask, prediction.delta
        previous_masks.append(mask)
        assert prediction.clicks_obeyed
        assert prediction.evaluations <= 20
        assert mask.x >= 0
        assert mask.y >= 0
        assert mask.x + mask.bits.shape[1] <= 110
        assert mask.y + mask.bits.shape[0] <= 90
    assert 0 < prediction.confidence <= 1


def test_of_contradictory_clicks_on_a_pixel_the_last_counts():
    there, not_there = Click(5, 5, positive=True), Click(5, 5, positive=False)
    assert deduplicate_clicks([there, there]) == [there]
    assert deduplicate_clicks([there, Click(1, 1, positive=True), not_there]) == [Click(1, 1, positive=True), not_there]


def test_bad_calls_say_what_to_do(network, predictor):
    with pytest.raises(errors.InvalidInput, match="first click of an object must be positive"):
        predictor.predict([Click(5, 5, positive=False)])
    with pytest.raises(errors.InvalidInput, match=r"click \(110, 5\) is outside the image of 110 x 90"):
        predictor.predict([Click(110, 5, positive=True)])
    with pytest.raises(errors.InvalidInput, match="no click"):
        predictor.predict([])
    with pytest.raises(errors.Precondition, match="no image is set"):
        Predictor(network, TorchBackbone(network.encoder), 64).predict([Click(5, 5, positive=True)])
    with pytest.raises(errors.InvalidImage, match="uint8"):
        predictor.set_image(np.zeros((8, 8, 3), np.float32))


def test_many_nuclei_at_once_are_as_each_alone(predictor):
    points = [Click(x, y, positive=True) for x in (0, 30, 109) for y in (0, 45, 89)]
    for point, found in zip(points, predictor.predict_many(points), strict=True):
        alone = predictor.predict([point])
        assert found.probability[0] == alone.probability[0]
        np.testing.assert_allclose(found.probability[1], alone.probability[1], atol=1e-4)
        assert found.honoured == alone.honoured == (True,)
    with pytest.raises(errors.InvalidInput, match="must be positive"):
        predictor.predict_many([Click(5, 5, positive=False)])
    assert predictor.predict_many([]) == []


def test_predictions_side_by_side_do_not_disturb_each_other(predictor):
    clicks = [[Click(5 + 7 * i, 20, positive=True), Click(12 + 7 * i, 30, positive=False)] for i in range(8)]
    # Sums come out alike on equal numbers of threads only, which is why the service pins them.
    with ThreadPoolExecutor(1, initializer=set_torch_threads, initargs=(1,)) as pool:
        alone = list(pool.map(predictor.predict, clicks))
    with ThreadPoolExecutor(8, initializer=set_torch_threads, initargs=(1,)) as pool:
        for found, expected in zip(pool.map(predictor.predict, clicks), alone, strict=True):
            assert np.array_equal(found.probability[1], expected.probability[1])
            assert found.mask.runs() == expected.mask.runs()


def test_a_prediction_says_per_click_what_is_honoured_and_where_time_went(predictor):
    clicks = [Click(20, 20, positive=True), Click(50, 50, positive=False), Click(50, 50, positive=True)]
    found = predictor.predict(clicks)
    assert found.honoured == (True, False, True)  # of two clicks on one pixel the later counts
    assert found.clicks_obeyed
    frame, probability = found.probability
    assert found.honoured_by_network[0] == (probability[20 - frame.y, 20 - frame.x] > 0.5)
    assert min(found.times.encoding, found.times.refining, found.times.finishing) > 0


def test_a_cancelled_prediction_stops(network):
    predictor = Predictor(network, TorchBackbone(network.encoder), 64, RefinementOptions(early_stop=False))
    predictor.set_image(np.random.default_rng(0).integers(0, 255, (90, 110, 3), np.uint8))
    with pytest.raises(errors.Cancelled):
        predictor.predict([Click(20, 20, positive=True)], cancelled=lambda: True)


def test_flipping_averages_the_mirrored_view(network):
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    options, click = RefinementOptions(Method.NONE), Click(20, 30, positive=True)
    predictor = Predictor(network, TorchBackbone(network.encoder), 64, options, flip=True)
    predictor.set_image(image)
    found = predictor.predict([click]).probability[1]
    predictor.set_image(image[:, ::-1].copy())
    mirrored = predictor.predict([Click(43, 30, positive=True)]).probability[1]
    np.testing.assert_allclose(found, mirrored[:, ::-1], atol=1e-4)


def test_a_frame_stays_while_the_object_lies_well_inside_it():
    clicks, small = [Click(300, 300, positive=True)], ObjectMask(290, 290, np.ones((20, 20), bool))
    last_frame = frame_for(small, clicks, 96, 900, 900)
    moved = ObjectMask(300, 300, np.ones((24, 24), bool))
    assert frame_for(moved, clicks, 96, 900, 900) != last_frame
    assert frame_for(moved, clicks, 96, 900, 900, last_frame=last_frame) == last_frame
    at_the_edge = ObjectMask(last_frame.x + 2, 300, np.ones((20, 20), bool))
    assert frame_for(at_the_edge, clicks, 96, 900, 900, last_frame=last_frame) != last_frame
    far = centred_frame(500, 500, 96, 900, 900)
    assert frame_for(small, clicks, 96, 900, 900, last_frame=far) == last_frame
