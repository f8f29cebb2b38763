from __future__ import annotations

import numpy as np
import pytest
from tests.unit.hovernet.tissue import draw

from nucleate.errors import InvalidImage
from nucleate.hovernet.segmentation.image_segmentation import ClassicalSegmenter, segment
from nucleate.pathology.instances.typical_radius import image_typical_radius


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("microns", [0.0, 0.5])
def test_maps_and_the_typical_radius_are_of_the_image_as_it_is_given(microns, ignore):
    image, _ = draw(96, 8, 3)
    found = segment(ClassicalSegmenter(), image, "image", ignore=ignore, microns=microns)
    assert found.instances.shape == (96, 96)
    assert (found.ignore is not None) is ignore
    assert found.typical_radius == image_typical_radius(image)


def test_a_side_too_small_at_40x_is_named():
    with pytest.raises(InvalidImage, match="image 'a' at 40x is 16 x 16 px"):
        segment(ClassicalSegmenter(), np.zeros((64, 64, 3), np.uint8), "image 'a'", ignore=False, microns=0.0625)
