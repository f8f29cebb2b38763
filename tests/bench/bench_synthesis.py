"""Seconds per megapixel of every stage of synthesis, on drawn tissue or on real images.

python tests/bench/bench_synthesis.py [FOLDER_OF_IMAGES] [--size 1000] [--images 4] [--profile cpu] [--threads 2] [--pairs 100]
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucleate.pathology.images.codec import decode_image
from nucleate.pathology.segmentation.classical import segment
from nucleate.synthesis.analysis.background import inpaint
from nucleate.synthesis.analysis.otsu_regions import haematoxylin_thresholds, super_segmentation
from nucleate.synthesis.analysis.reference import analyse_reference
from nucleate.synthesis.generation.batch import Batch, ReferenceCache, Source
from nucleate.synthesis.generation.synthetic_image import synthesize
from nucleate.synthesis.phantom.tissue import draw_tissue
from nucleate.synthesis.profiles import profile_named


def timed(work: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Least CPU seconds of several calls, and the result of the last."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=8, help="drawn with one thread and with all")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    profile = profile_named(given.profile).sized(given.size)
    if given.folder:
        files = sorted(given.folder.iterdir())[: given.images]
        images = {file.name: decode_image(file.read_bytes(), file.name) for file in files}
    else:
        images = {f"tissue {seed}": draw_tissue(seed, given.size)[0] for seed in range(given.images)}
    megapixels = given.size**2 / 1e6
    rows = []
    for name, rgb in images.items():
        seconds, reference = timed(lambda: analyse_reference(rgb, name, profile), 1)  # noqa: B023 - called at once
        removed = super_segmentation(haematoxylin_thresholds(rgb), segment(rgb))
        detail, _ = timed(lambda: inpaint(rgb, removed, "detail", np.random.default_rng(0)))  # noqa: B023
        telea, _ = timed(lambda: inpaint(rgb, removed, "telea", np.random.default_rng(0)), 1)  # noqa: B023
        draw, drawn = timed(lambda: synthesize(reference, 0, 0, profile))  # noqa: B023
        scale = rgb.shape[0] * rgb.shape[1] / 1e6
        rows.append((seconds / scale, detail / scale, telea / scale, draw / megapixels))
        figures = "  ".join(f"{value:5.2f}" for value in rows[-1])
        sys.stdout.write(
            f"{name[:32]:32} {figures}  removed {removed.mean():.0%}  nuclei {drawn.placed}/{drawn.requested}" + "\n"
        )
    sys.stdout.write(
        f"{'mean, CPU s per megapixel':32} " + "  ".join(f"{value:5.2f}" for value in np.mean(rows, axis=0)) + "\n"
    )
    sys.stdout.write(f"{'':32} apart  fill telea   draw\n")
    sources = [Source(name, name, lambda rgb=rgb: rgb) for name, rgb in images.items()]
    cache = ReferenceCache(len(images))
    for source in sources:
        cache.get(source, profile)
    digests = {}
    for threads in (1, given.threads):
        batch = Batch(sources, given.pairs, 0, profile, threads, cache)
        start = time.perf_counter()
        digests[threads] = [
            hashlib.sha256(image.image.tobytes() + image.instances.tobytes()).hexdigest()
            for group in batch.groups()
            for image in batch.images(group)
        ]
        wall = time.perf_counter() - start
        each = wall / given.pairs / megapixels
        sys.stdout.write(f"{threads} threads, references cached: {given.pairs} pairs in {wall:.1f} s, {each:.2f} s per Mpx\n")
    same = digests[1] == digests[given.threads] and len(set(digests[1])) == given.pairs
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(f"pairs {'the same' if same else 'NOT THE SAME'} for any number of threads; peak memory {peak:.2f} GiB\n")


if __name__ == "__main__":
    main()
