"""How much faster HV targets are than their definition nucleus by nucleus, in one run.

python -m tests.bench.bench_targets [--size 1000] [--nuclei 700]
"""

from __future__ import annotations

import json
import sys

import numpy as np
from tests.bench.bench_metrics import ellipses, seconds, sizes
from tests.unit.hovernet.slow_targets import slow_hv

from nucleate.hovernet.training.targets import hv_maps


def main():
    options = sizes(__doc__)
    instances, _ = ellipses(options.size, options.nuclei)
    fast, maps = seconds(hv_maps, instances, repeats=10)
    slow, expected = seconds(slow_hv, instances, repeats=1)
    difference = float(np.abs(maps - expected).max())
    report = {"fast_s": fast, "reference_s": slow, "ratio": slow / fast, "largest_difference": difference}
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 0 if difference < 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
