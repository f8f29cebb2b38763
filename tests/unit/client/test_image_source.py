"""Images to open: files, encoded bytes and arrays of any library."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucleate import errors
from nucleate.client.files.image_files import encode_png
from nucleate.client.interactive.image_source import CHUNK_BYTES, encoded, image_chunks


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


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
def test_what_is_no_image_is_refused(bad: object):
    with pytest.raises(errors.InvalidImage):
        encoded(bad, "")


def test_files_are_called_by_their_stem(tmp_path: Path):
    png = encode_png(2, 1, b"\1\2\3\4\5\6", mode="RGB")
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
    messages = list(image_chunks("x", data))
    assert [message.id for message in messages] == ["x", "", ""]
    assert b"".join(message.chunk for message in messages) == data
    assert max(len(message.chunk) for message in messages) == CHUNK_BYTES
