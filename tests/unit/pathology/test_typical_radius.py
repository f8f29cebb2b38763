from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate.interactive.networks.network_input import level_to_radius, network_input, radius_to_level, rescaled_level
from nucleate.pathology.instances.magnification import magnification_warning
from nucleate.pathology.instances.typical_radius import image_typical_radius, typical_radius


def test_images_at_half_the_size_are_warned_about():
    half, _ = draw_nuclei(384, 40, 1)
    image = cv2.resize(half, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    assert image_typical_radius(half) == pytest.approx(image_typical_radius(image) / 2, rel=0.2)
    assert magnification_warning([15.0, 9.0, 14.0]) == magnification_warning([]) == ""
    assert "8.0 px" in magnification_warning([8.0, 7.0, 14.0])


def test_the_size_plane_tells_the_radius_of_the_nuclei_and_follows_the_scale():
    rng = np.random.default_rng(0)
    for radius in (6, 10, 18):
        margin = np.full((400, 400), -0.6, np.float32)
        for y in range(40, 400, 64):
            for x in range(40, 400, 64):
                cv2.circle(margin, (x, y), radius, 0.9, -1)
        margin = cv2.GaussianBlur(margin, (0, 0), 1.5) + rng.normal(0, 0.05, margin.shape).astype(np.float32)
        assert typical_radius(margin) == pytest.approx(radius, rel=0.15)
        assert level_to_radius(radius_to_level(radius)) == pytest.approx(radius, rel=0.01)
        assert level_to_radius(rescaled_level(radius_to_level(radius), 1.5)) == pytest.approx(1.5 * radius, rel=0.01)
    assert typical_radius(np.full((40, 50), -1, np.float32)) == 12
    assert network_input(np.full((40, 50, 3), 255, np.uint8)).shape == (40, 50, 5)
    assert network_input(draw_nuclei(64, 3, 0)[0])[..., 4].std() == 0
