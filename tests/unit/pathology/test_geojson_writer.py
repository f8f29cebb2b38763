from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nucleate.pathology.annotation_formats import geojson_writer, reading
from nucleate.pathology.annotation_formats.polygons import rasterise
from nucleate.pathology.instances.nucleus_records import nucleus_records


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_geojson_reads_back_to_the_same_pixels_and_classes(seed, side):
    rng = np.random.default_rng(seed)
    whole = cv2.GaussianBlur(rng.random((side, side + 3)), (0, 0), 1.5) > 0.5
    filled = np.zeros(whole.shape, np.uint8)
    contours, _ = cv2.findContours(whole.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(filled, contours, -1, 1, -1)
    instances = cv2.connectedComponents(filled, connectivity=4)[1]
    types = (instances % 3).astype(np.uint8)
    found = nucleus_records(instances, np.full(instances.shape, 0.75, np.float32), types)
    data = geojson_writer.feature_collection(geojson_writer.nucleus_polygons(instances, found), ["a", "b"])
    if not found:
        return
    back = rasterise(reading.read(data, "map"), instances.shape, "map")
    assert np.array_equal(back.instances, instances)
    if back.types is not None:
        assert [back.types[n.label] for n in found] == [{0: "unclassified", 1: "a", 2: "b"}[n.type] for n in found]
