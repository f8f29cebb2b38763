"""The nuclei of an un-annotated image that synthesis learns from: dark ones by thresholds, vesicular ones by closed contours.

Thresholds find dark nuclei whole, and of pale ones the rim or a nucleolus, which are no models of anything. Contours find those
nuclei as well, so that the mixture of both kinds, with rims, nucleoli and clumped chromatin, is that of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.instances.instance_map import relabel
from nucleate.pathology.instances.typical_radius import typical_radius
from nucleate.pathology.segmentation.classical import segment
from nucleate.pathology.segmentation.pseudo_label_refinement import refine_labels
from nucleate.pathology.stains import standardised_input
from nucleate.synthesis.analysis.nuclei_measurement import NucleusMeasurements, measure_nuclei
from nucleate.synthesis.analysis.otsu_regions import sub_segmentation
from nucleate.synthesis.profiles import Models

#: px inside a contour from which on pixels are nuclear for sure: contours lie where nuclei end, thresholds anywhere near.
_CONTOUR_DEPTH, _THRESHOLD_DEPTH = 1, 2
#: A contour shows what thresholds have found already when well-formed nuclei cover more of it than this.
_MAX_KNOWN_SHARE = 0.2


@dataclass(frozen=True)
class DetectedNuclei:
    """Nuclei to learn from: their map (HW int32, 1..N), measurements, and which are well formed.

    Labels up to `thresholded` are by thresholds, those above by contours. Whatever thresholds call nuclear lies in an instance.
    """

    instances: NDArray[np.int32]
    thresholded: int
    nuclei: NucleusMeasurements
    well_formed: NDArray[np.bool_]

    def sub_segmentation(self) -> NDArray[np.bool_]:
        """Pixels that are surely nuclear, HW bool."""
        labels = np.arange(len(self.nuclei) + 1)
        keep = np.concatenate([[False], self.well_formed])
        inside = sub_segmentation(self.instances, keep & (labels <= self.thresholded), _THRESHOLD_DEPTH)
        inside |= sub_segmentation(self.instances, keep & (labels > self.thresholded), _CONTOUR_DEPTH)
        return inside if inside.any() else sub_segmentation(self.instances, keep, 1)


def detect_nuclei(rgb: NDArray[np.uint8], density_HW: NDArray[np.float32], models: Models) -> DetectedNuclei:
    """Nuclei of an HWC uint8 image and its haematoxylin density (HW float32, OD)."""
    thresholded = segment(rgb)
    measured, well_formed = measure_nuclei(thresholded, density_HW)
    if models == "thresholds":
        return DetectedNuclei(thresholded, len(measured), measured, well_formed)
    known_HW = np.concatenate([[False], well_formed])[thresholded]
    added_HW = _additional_contours(rgb, thresholded, known_HW)
    # What thresholds have of a nucleus that has a contour now is a fragment of it.
    kept_HW = relabel(np.where(added_HW > 0, 0, thresholded))
    merged = np.where(added_HW > 0, added_HW + kept_HW.max(), kept_HW).astype(np.int32)
    return DetectedNuclei(merged, int(kept_HW.max()), *measure_nuclei(merged, density_HW))


def _additional_contours(
    rgb: NDArray[np.uint8], thresholded: NDArray[np.int32], known_HW: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Reliable closed contours off the known nuclei, HW int32, 1..N."""
    margin_HW = standardised_input.haematoxylin_margin(standardised_input.planes(rgb))
    refined, reliable = refine_labels(margin_HW, typical_radius(margin_HW), thresholded)
    area = np.bincount(refined.ravel())
    share = np.bincount(refined[known_HW], minlength=area.size) / np.maximum(area, 1)
    unknown = [label for label in reliable if share[label] < _MAX_KNOWN_SHARE]
    return relabel(np.where(np.isin(refined, unknown) & ~known_HW, refined, 0))
