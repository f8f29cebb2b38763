from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.paths import MONUSEG, needs_data

from nucleate.pathology.contours.edge_width import edge_width
from nucleate.pathology.images.codec import decode_image, decode_instances
from nucleate.pathology.metrics import dice_aji_pq
from nucleate.pathology.segmentation.classical import segment, segment_with_ignore
from nucleate.pathology.stains.optical_density import HED, od_to_rgb

BLANK = [np.full((64, 64, 3), level, np.uint8) for level in (0, 128, 255)]
PINK = np.full((64, 64, 3), (230, 150, 190), np.uint8)


def drawn(sigma=1.0, seed=0, size=320):
    """An H&E-like image of 25 blurred ellipses, each alone but for one touching pair, and its instance map."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), dtype=np.int32)
    for k in range(25):
        centre = (32 + 64 * (k % 5), 32 + 64 * (k // 5))
        cv2.ellipse(labels, centre, (16, 11), float(rng.uniform(0, 180)), 0, 360, k + 1, -1)
    cv2.ellipse(labels, (55, 32), (11, 11), 0, 0, 360, 26, -1)
    density = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), sigma)
    od = density[..., None] * HED[0] * 0.9 + (0.5 - 0.1 * density[..., None]) * HED[1]
    return od_to_rgb(od + rng.normal(0, 0.03, (size, size, 3))), labels


def test_clear_nuclei_are_found():
    rgb, labels = drawn()
    found = segment(rgb)
    assert found.dtype == np.int32
    assert dice_aji_pq.score(labels, found).pq > 0.85
    again, ignore = segment_with_ignore(rgb)
    np.testing.assert_array_equal(found, again)
    assert ignore.dtype == np.bool_
    assert 0 < ignore.mean() < 0.1
    wrong = (found > 0) != (labels > 0)
    assert ignore[wrong].mean() > 0.5, "what is wrong is mostly marked uncertain"


@pytest.mark.parametrize("rgb", [*BLANK, PINK])
def test_blank_images_have_no_nuclei(rgb):
    instances, ignore = segment_with_ignore(rgb)
    assert instances.shape == ignore.shape == (64, 64)
    assert not instances.any()


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_edge_width_is_that_of_the_blur(sigma):
    assert edge_width(*drawn(sigma)) == pytest.approx(2.563 * sigma, rel=0.15)


@needs_data
@pytest.mark.data
def test_the_classical_row_on_real_images():
    """The whole Kumar test split gives .764/.447/.393; three images keep this test short."""
    scores = []
    for name in ("TCGA-B0-5710-01Z-00-DX1", "TCGA-DK-A2I6-01A-01-TS1", "TCGA-A7-A13F-01Z-00-DX1"):
        rgb = decode_image((MONUSEG / "eval" / "images" / f"{name}.webp").read_bytes(), name)
        truth = decode_instances((MONUSEG / "eval" / "masks" / f"{name}.png").read_bytes(), name)
        scores.append(dice_aji_pq.score(truth, segment(rgb)))
    mean = dice_aji_pq.mean(scores)
    assert mean.dice1 > 0.78
    assert mean.aji > 0.52
    assert mean.pq > 0.45
