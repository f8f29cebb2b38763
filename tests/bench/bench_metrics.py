"""How much faster the scores are than one mask per nucleus, in one run: python tests/bench/bench_metrics.py [--size 1000]."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.unit.pathology import slow_metrics

from nucleate.pathology.metrics import dice_aji_pq


def ellipses(size, count, seed=0):
    """True and predicted map of `count` nuclei, the prediction shifted, resized, with one in twenty lost."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:size, :size]
    maps = np.zeros((2, size, size), dtype=np.int32)
    for label in range(1, count + 1):
        y, x = rng.uniform(0, size, 2)
        a, b, turn = rng.uniform(8, 14), rng.uniform(6, 9), rng.uniform(0, np.pi)
        shifts = [(0.0, 0.0, 1.0), (*rng.normal(0, 1.0, 2), rng.normal(1, 0.06))]
        for part, (dy, dx, scale) in zip(maps, shifts[: 1 if rng.random() < 0.05 else 2], strict=False):
            top, left = max(int(y) - 24, 0), max(int(x) - 24, 0)
            window = slice(top, int(y) + 24), slice(left, int(x) + 24)
            v, u = ys[window] - y - dy, xs[window] - x - dx
            along, across = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
            part[window][(along / a) ** 2 + (across / b) ** 2 < scale**2] = label
    return maps


def published_style(true, pred):
    """Each score builds its own masks and overlaps, as the published functions do when called one after another."""
    scores = {}
    for names in (("aji",), ("ajip",), ("dq", "sq", "pq"), ("dice2",), ("dice1",)):
        if names == ("dice1",):
            scores["dice1"] = slow_metrics.dice1(true, pred)
            continue
        result = slow_metrics.score(true, pred, slow_metrics.touching_overlaps)
        scores.update({name: result[name] for name in names})
    return scores


def seconds(function, *args, repeats):
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        result = function(*args)
        best = min(best, time.process_time() - start)
    return best, result


def sizes(description):
    """What the command line says of the image: side in px and number of nuclei."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--nuclei", type=int, default=700)
    return parser.parse_args()


def main():
    options = sizes(__doc__)
    true, pred = ellipses(options.size, options.nuclei)
    fast, scores = seconds(dice_aji_pq.score, true, pred, repeats=10)
    slow, expected = seconds(published_style, true, pred, repeats=1)
    difference = max(abs(scores.to_dict()[name] - value) for name, value in expected.items())
    report = {"fast_s": fast, "reference_s": slow, "ratio": slow / fast, "largest_difference": difference, **scores.to_dict()}
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 0 if difference < 1e-12 else 1


if __name__ == "__main__":
    sys.exit(main())
