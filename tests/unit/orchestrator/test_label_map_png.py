"""The pixel-free PNG reader against files that a real encoder wrote, with every row filter."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.unit.orchestrator.quick_services import label_png

from nucleate.errors import InvalidMask
from nucleate.orchestrator.loop.label_map_png import decode


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**32 - 1), st.sampled_from(["L", "I;16"]))
def test_decodes_what_pillow_encodes(width, height, seed, mode) -> None:
    import random

    chance = random.Random(seed)
    top = 255 if mode == "L" else 65535
    # Smooth rows make the encoder use its predictive filters.
    labels = [[min(top, x * 3 + y * 5 + chance.choice([0, 0, 0, top // 2])) for x in range(width)] for y in range(height)]
    size = 1 if mode == "L" else 2
    raw = b"".join(value.to_bytes(size, "little") for row in labels for value in row)
    file = io.BytesIO()
    Image.frombytes(mode, (width, height), raw).save(file, "PNG", optimize=True)
    found = decode(file.getvalue(), "mask")
    assert (found.width, found.height) == (width, height)
    assert [list(row) for row in found.labels] == labels
    assert found.nuclei == len({value for row in labels for value in row} - {0})


def test_outline_runs_along_label_changes() -> None:
    found = decode(label_png([[0, 0, 0, 0], [0, 1, 2, 0], [0, 1, 2, 0]]), "mask")
    assert found.outline() == "M1 1H3M1 1V3M2 1V3M3 1V3"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GIF89a", "not a PNG"),
        (label_png([[1]])[:40], "damaged"),
        (label_png([[1, 2]]).replace(b"IDAT", b"IDOT"), "damaged"),
        (label_png([[1]])[:16] + bytes(8) + label_png([[1]])[24:], "0x0"),
        (label_png([[1]])[:25] + b"\x02" + label_png([[1]])[26:], "grey"),
    ],
)
def test_refuses_anything_else_by_name(data, why) -> None:
    with pytest.raises(InvalidMask, match=rf"my mask.*{why}"):
        decode(data, "my mask")
