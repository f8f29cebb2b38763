"""A model's own labels as training data: instances, and the pixels that should not be trusted.

Self-training repeats its teacher's errors unless the teacher's doubts are left out of the loss. Ignored are pixels of undecided
probability, pieces dropped as too small, and whole instances that are no plausible single nucleus.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from nucleate.hovernet.inference.sliding_window import Prediction
from nucleate.hovernet.postprocessing import hv_instances
from nucleate.hovernet.postprocessing.hv_instances import PostProcessing
from nucleate.pathology.instances import typical_radius
from nucleate.pathology.instances.morphometry import implausible_labels
from nucleate.pathology.segmentation import pseudo_label_refinement
from nucleate.pathology.stains import standardised_input


@dataclasses.dataclass(frozen=True)
class Trust:
    """What is believed: probabilities further than `undecided` from 1/2, solid instances, areas in typical nuclei."""

    undecided: float = 0.15
    solidity: float = 0.8
    area: tuple[float, float] = (0.2, 5.0)


def labels(
    prediction: Prediction, post: PostProcessing, trust: Trust | None = None
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Instance map HW int32 and ignore mask HW bool of a prediction."""
    trust = trust or Trust()
    instances = hv_instances.instances(prediction.nuclear, prediction.hv, post)
    unsure = np.abs(prediction.nuclear - 0.5) < trust.undecided
    dropped = (prediction.nuclear >= post.nuclear) & (instances == 0)
    return instances, unsure | dropped | implausible_labels(instances, trust.solidity, trust.area)[instances]


def outlines(
    image_HW3: NDArray[np.uint8], prediction: Prediction, post: PostProcessing, trust: Trust | None = None
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """As `labels`, but with the borders of the image itself: a closed outline round each instance, where it is clear.

    A network that has seen no border drawn by a person blurs those of its teacher. What it takes for nuclear, however
    faintly, and no outline covers is ignored.
    """
    trust = trust or Trust()
    instances, ignore = labels(prediction, post, trust)
    margin_HW = standardised_input.haematoxylin_margin(standardised_input.planes(image_HW3))
    drawn = pseudo_label_refinement.labels_from_contours(margin_HW, typical_radius.typical_radius(margin_HW), instances)
    nuclear = (instances > 0) | (prediction.nuclear > post.nuclear - trust.undecided)
    return drawn, (drawn == 0) & (ignore | nuclear)
