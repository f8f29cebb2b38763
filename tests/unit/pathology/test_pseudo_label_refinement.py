from __future__ import annotations

import cv2
import numpy as np
from tests.unit.interactive.nuclei import draw_nuclei

from nucleate.pathology.instances.typical_radius import typical_radius
from nucleate.pathology.segmentation import classical
from nucleate.pathology.segmentation.pseudo_label_refinement import pseudo_labels, refine_labels
from nucleate.pathology.stains import standardised_input


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def refined_pseudo_labels(image):
    margin = standardised_input.haematoxylin_margin(standardised_input.planes(image))
    return pseudo_labels(image, margin, typical_radius(margin))


def test_refined_labels_fit_better_than_thresholded_ones_and_nothing_comes_of_nothing():
    image, instances = draw_nuclei(192, 14, 1)
    margin = standardised_input.haematoxylin_margin(standardised_input.planes(image))
    radius = typical_radius(margin)
    swollen = cv2.dilate(classical.segment(image).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.int32)
    refined, reliable = refine_labels(margin, radius, swollen)
    assert len(reliable) > 7
    assert set(reliable) <= set(np.unique(refined)) - {0}
    assert overlap(np.isin(refined, reliable), instances > 0) > overlap(swollen > 0, instances > 0)
    again, _ = refine_labels(margin, radius, swollen)
    assert np.array_equal(again, refined)
    empty, none = refine_labels(margin, radius, np.zeros_like(instances))
    assert not empty.any()
    assert none == []


def test_pseudo_labels_leave_out_what_no_contour_covers():
    image, instances = draw_nuclei(192, 14, 1)
    labels, ignored = refined_pseudo_labels(image)
    assert overlap(labels > 0, instances > 0) > 0.7
    assert not ignored[labels > 0].any()
    assert (ignored | (labels > 0))[classical.segment(image) > 0].all()
    blank = np.full((64, 64, 3), 255, np.uint8)
    labels, ignored = refined_pseudo_labels(blank)
    assert labels.shape == ignored.shape == (64, 64)
    assert not labels.any()
