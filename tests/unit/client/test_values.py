"""Masks, maps and pictures against array and image libraries; what is repeated and when."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nucleate import errors
from nucleate.client import Box, LabelMap, Mask
from nucleate.client.files.png_writer import pixels_png
from nucleate.client.interactive.image_source import CHUNK_BYTES, chunks, encoded
from nucleate.client.interactive.retries import FIRST_PATIENCE_S, Attempts, Contact
from nucleate.interactive.object_mask import ObjectMask

WINDOW = Box(2, 3, 20, 16)


def mask_of(bits: np.ndarray, x: int, y: int, window: Box = WINDOW) -> Mask:
    cut = ObjectMask.from_array(bits, x, y)
    return Mask(Box(cut.x, cut.y, *cut.bits.shape[::-1]), tuple(cut.runs()), window)


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), density=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), x=st.integers(0, 6), y=st.integers(0, 6)
)
def test_a_mask_is_the_array_it_was_made_of(seed: int, density: float, x: int, y: int):
    bits = np.random.default_rng(seed).random((9, 11)) < density
    mask = mask_of(bits, x, y)
    image = np.zeros((40, 40), bool)
    image[y : y + 9, x : x + 11] = bits
    expected = image[3:19, 2:22]
    np.testing.assert_array_equal(np.asarray(mask), expected)
    assert np.asarray(mask).dtype == bool
    assert mask.area == bits.sum()
    np.testing.assert_array_equal(opened(mask.to_png()), expected * np.uint8(255))
    whole = Box(0, 0, 40, 40)
    np.testing.assert_array_equal(np.frombuffer(mask.to_bytes(whole), bool).reshape(40, 40), image)
    assert {(c, r) for r in range(40) for c in range(40) if (c, r) in mask} == {(c, r) for r, c in np.argwhere(image)}


def test_a_mask_that_does_not_fit_its_box_is_refused():
    with pytest.raises(errors.InvalidMask, match="do not add up"):
        Mask(Box(0, 0, 2, 2), (1, 2), WINDOW)


def test_a_map_labels_what_can_be_seen_of_each_mask():
    full = np.ones((3, 4), bool)
    masks = [mask_of(full, 4, 5), mask_of(full, 0, 0), mask_of(full[:0], 0, 0), mask_of(full, 20, 17), mask_of(full, 30, 30)]
    labels = LabelMap.of(masks, WINDOW)
    expected = np.zeros((16, 20), np.int32)
    expected[2:5, 2:6], expected[14:16, 18:20] = 1, 2
    np.testing.assert_array_equal(np.asarray(labels), expected)
    assert (labels.nuclei, np.asarray(labels).dtype) == (2, np.int32)
    np.testing.assert_array_equal(opened(labels.to_png()), expected)
    np.testing.assert_array_equal(np.frombuffer(labels.to_bytes(), np.int32).reshape(16, 20), expected)


def test_a_map_past_16_bits_keeps_its_labels():
    window = Box(0, 0, 300, 300)
    dots = (Mask(Box(n % 300, n // 300, 1, 1), (0, 1), window) for n in range(66_000))
    labels = LabelMap.of(dots, window)
    assert (labels.nuclei, np.asarray(labels).max()) == (66_000, 66_000)
    with pytest.raises(errors.TooLarge, match="66000 nuclei"):
        labels.to_png()


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (4, "RGBA")])
def test_arrays_of_any_library_travel_unchanged(channels: int, mode: str):
    pixels = np.random.default_rng(1).integers(0, 256, (7, 5, channels), np.uint8)
    for array in (
        pixels,
        np.asfortranarray(pixels),
        pixels[::-1, ::-1][::-1, ::-1],
        memoryview(pixels),
        Image.fromarray(pixels),
    ):
        name, data = encoded(array, "")
        assert (name, Image.open(io.BytesIO(data)).mode) == ("image", mode)
        np.testing.assert_array_equal(opened(data), pixels)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 2), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5, 3)),
        np.zeros((5, 5, 3), np.int8),
        b"",
        b"nonsense",
        5,
        None,
    ],
)
def test_what_is_no_picture_is_refused(bad: object):
    with pytest.raises(errors.InvalidImage):
        encoded(bad, "")


def test_files_are_called_by_their_stem(tmp_path: Path):
    png = pixels_png(2, 1, b"\1\2\3\4\5\6", channels=3)
    (tmp_path / "tissue.png").write_bytes(png)
    assert encoded(tmp_path / "tissue.png", "") == ("tissue", png)
    assert encoded(str(tmp_path / "tissue.png"), "mine") == ("mine", png)
    assert encoded(bytearray(png), "") == ("image", png)
    with pytest.raises(errors.InvalidInput, match="is a folder"):
        encoded(tmp_path, "")
    with pytest.raises(errors.EmptyInput, match="does not exist"):
        encoded(tmp_path / "none.png", "")


def test_chunks_make_up_the_bytes():
    data = bytes(range(256)) * 10_000
    messages = list(chunks("x", data))
    assert [message.id for message in messages] == ["x", "", ""]
    assert b"".join(message.chunk for message in messages) == data
    assert max(len(message.chunk) for message in messages) == CHUNK_BYTES


class TestAttempts:
    def test_waits_longer_each_time_and_as_long_as_the_service_says(self):
        attempts = Attempts(Contact(heard=True), 100.0, 100.0)
        waits = [attempts.delay_s(errors.Unreachable("away")) for _ in range(8)]
        for wait, least in zip(waits, (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0), strict=True):
            assert least <= wait <= 1.25 * least
        assert 7 <= attempts.delay_s(errors.Overloaded("busy", retry_after=7)) <= 7 * 1.25

    def test_ends_with_the_error_itself(self):
        for error in (errors.InvalidInput("x"), errors.TooLarge("x"), errors.SessionConflict("x"), errors.NucleateError("x")):
            with pytest.raises(type(error)):
                Attempts(Contact(heard=True), 100.0, 100.0).delay_s(error)
        with pytest.raises(errors.Overloaded):
            Attempts(Contact(heard=True), 1.0, 300.0).delay_s(errors.Overloaded("busy", retry_after=1))

    def test_is_less_patient_with_a_service_that_was_never_heard(self, monkeypatch: pytest.MonkeyPatch):
        began = time.monotonic()
        contact = Contact()
        attempts = Attempts(contact, 100.0, 300.0)
        monkeypatch.setattr(time, "monotonic", lambda: began + FIRST_PATIENCE_S)
        with pytest.raises(errors.Unreachable):
            attempts.delay_s(errors.Unreachable("away"))
        contact.heard = True
        assert attempts.delay_s(errors.Unreachable("away")) < 1
        assert attempts.left_s == pytest.approx(300 - FIRST_PATIENCE_S, abs=0.1)
