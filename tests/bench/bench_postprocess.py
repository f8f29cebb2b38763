"""How much faster post-processing with its instance dictionary is than the published steps, in one run.

python -m tests.bench.bench_postprocess [--size 1000] [--nuclei 700]
"""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np
from tests.bench.bench_metrics import ellipses, seconds, sizes
from tests.unit.hovernet import slow_hv_instances

from nucleate.hovernet.postprocessing.hv_instances import CLEAN, PUBLISHED, instances
from nucleate.hovernet.training.targets import hv_maps
from nucleate.pathology.instances.nucleus_records import nucleus_records
from nucleate.pathology.metrics import dice_aji_pq


def network_output(size, count, seed=0):
    """Probability and HV maps as of a network that is mostly right: blurred truth and smooth noise."""
    rng = np.random.default_rng(seed)
    truth, _ = ellipses(size, count, seed)

    def noise():
        return cv2.GaussianBlur(rng.normal(0, 0.3, (size, size)).astype(np.float32), (5, 5), 1.5)

    hv = np.stack([cv2.GaussianBlur(plane, (5, 5), 1) + noise() for plane in hv_maps(truth)])
    nuclear = cv2.GaussianBlur((truth > 0).astype(np.float32), (5, 5), 1.2) + noise()
    return np.clip(nuclear, 0, 1).astype(np.float32), hv.astype(np.float32)


def ours(maps, how):
    found = instances(*maps, how)
    return found, nucleus_records(found, maps[0])


def published(maps):
    found = slow_hv_instances.instances(*maps)
    return found, slow_hv_instances.dictionary(found, maps[0])


def main():
    options = sizes(__doc__)
    maps = network_output(options.size, options.nuclei)
    fast, (found, entries) = seconds(ours, maps, PUBLISHED, repeats=10)
    slow, (expected, reference) = seconds(published, maps, repeats=3)
    tuned, _ = seconds(ours, maps, CLEAN, repeats=10)
    scores = dice_aji_pq.score(expected, found)
    report = {
        "fast_s": fast,
        "reference_s": slow,
        "ratio": slow / fast,
        "with_the_profiles_rules_s": tuned,
        "nuclei": len(entries),
        "aji_with_reference": scores.aji,
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 0 if scores.dq == 1 and len(entries) == len(reference) else 1


if __name__ == "__main__":
    sys.exit(main())
