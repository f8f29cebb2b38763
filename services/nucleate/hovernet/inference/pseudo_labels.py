"""Pseudo-labels of a network: instances, and the pixels that no loss should count.

Self-training repeats its teacher's errors unless what the teacher is unsure of is left out of the loss. Ignored are pixels of
undecided probability, pieces dropped as too small, and whole instances that are no plausible single nucleus.
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
from nucleate.pathology.stains.standardised_input import haematoxylin_margin


@dataclasses.dataclass(frozen=True)
class ReliabilityCriteria:
    """What is reliable: probabilities further than `undecided` from 1/2, instances of at least that solidity and area.

    Areas are the least and largest, in areas of the image's typical nucleus.
    """

    undecided: float = 0.15
    solidity: float = 0.8
    area: tuple[float, float] = (0.2, 5.0)


def network_labels(
    prediction: Prediction, post: PostProcessing, criteria: ReliabilityCriteria | None = None
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Instance map HW int32 and ignore mask HW bool of a prediction."""
    criteria = criteria or ReliabilityCriteria()
    instances = hv_instances.instances(prediction.nuclear, prediction.hv, post)
    uncertain = np.abs(prediction.nuclear - 0.5) < criteria.undecided
    dropped = (prediction.nuclear >= post.nuclear) & (instances == 0)
    return instances, uncertain | dropped | implausible_labels(instances, criteria.solidity, criteria.area)[instances]


def contour_labels(
    planes_HW4: NDArray[np.uint8], prediction: Prediction, post: PostProcessing, criteria: ReliabilityCriteria | None = None
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """As `network_labels`, but refined by a minimal-cost closed contour round each instance, where its edge is clear.

    A network that has seen no border refined by a person blurs those of its teacher. What it takes for nuclear, however
    faintly, and no contour covers is ignored. `planes_HW4` are the image's `standardised_input` planes.
    """
    criteria = criteria or ReliabilityCriteria()
    instances, ignore = network_labels(prediction, post, criteria)
    margin_HW = haematoxylin_margin(planes_HW4)
    refined = pseudo_label_refinement.labels_from_contours(margin_HW, typical_radius.typical_radius(margin_HW), instances)
    nuclear = (instances > 0) | (prediction.nuclear > post.nuclear - criteria.undecided)
    return refined, (refined == 0) & (ignore | nuclear)
