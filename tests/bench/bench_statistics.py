"""How far label-free statistics are from those of annotated nuclei, image by image.

    python -m tests.bench.bench_statistics [--images DIR] [--masks DIR] [--profile cpu]

The masks are read here and nowhere else. Count and area are ratios (1 is right), the earth mover's distance of radii is in px.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from tests.paths import MONUSEG

from nucleate.pathology.images.codec import decode_image, decode_instances
from nucleate.pathology.instances.morphometry import measure_shapes
from nucleate.synthesis.analysis.reference import analyse_reference
from nucleate.synthesis.analysis.statistics import clark_evans
from nucleate.synthesis.profiles import profile_named
from nucleate.synthesis.realism.distances import earth_movers

COLUMNS = ("count", "area", "radius emd px", "axis ratio", "clark-evans")


def compared(image: Path, mask: Path, profile: str) -> tuple[float, ...]:
    """Count and median area over the true ones, distance of radii, and differences of axis ratio and Clark-Evans index."""
    rgb = decode_image(image.read_bytes(), image.name)
    reference = analyse_reference(rgb, image.name, profile_named(profile))
    true = measure_shapes(decode_instances(mask.read_bytes(), mask.name))
    nuclei = reference.nuclei
    centres = true.centroids_yx[:, ::-1].astype(np.float32)
    return (
        float(reference.centre_intensity.sum()) / len(true.areas),
        float(np.median(nuclei.areas) / np.median(true.areas)),
        earth_movers(np.sqrt(nuclei.areas / np.pi), np.sqrt(true.areas / np.pi)),
        float(np.median(nuclei.axis_ratios) - np.median(true.axis_ratios)),
        clark_evans(nuclei.centres, reference.tissue_px) - clark_evans(centres, reference.tissue_px),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=MONUSEG / "pool" / "images")
    parser.add_argument("--masks", type=Path, default=MONUSEG / "pool" / "masks")
    parser.add_argument("--profile", default="cpu")
    given = parser.parse_args()
    sys.stdout.write(f"{'':32}" + "".join(f"{name:>15}" for name in COLUMNS) + "\n")
    rows = []
    for image in sorted(given.images.iterdir()):
        rows.append(compared(image, given.masks / f"{image.stem}.png", given.profile))
        sys.stdout.write(f"{image.stem[:32]:32}" + "".join(f"{value:15.2f}" for value in rows[-1]) + "\n")
        sys.stdout.flush()
    sys.stdout.write(f"{'median':32}" + "".join(f"{value:15.2f}" for value in np.median(rows, axis=0)) + "\n")


if __name__ == "__main__":
    main()
