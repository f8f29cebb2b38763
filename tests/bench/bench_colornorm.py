"""Colour normalization: time per image against what others compute, colours against theirs, stability, and how it generalises.

    python -m tests.bench.bench_colornorm [--images DIR] [--target IMG] [--out FOLDER]

Times are the least of several runs, in seconds per image, of this machine and this run only; `ratio` is the reference's time
over ours, both with as many threads as there are cores. --out writes before and after of every method as one picture.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from tests.bench import reference_colornorm as reference
from tests.paths import MONUSEG

from nucleate.colornorm.colornormnet.colour_change import add_offsets
from nucleate.colornorm.colornormnet.network import MODES, Shape
from nucleate.colornorm.colornormnet.thumbnails import target_patches
from nucleate.colornorm.colornormnet.training import train
from nucleate.colornorm.colornormnet.training_state import TrainingState
from nucleate.colornorm.methods import macenko
from nucleate.colornorm.methods.registry import METHODS, Fitted, normalize
from nucleate.colornorm.methods.tissue_weights import sample_tissue
from nucleate.colornorm.model_file import pack, unpack
from nucleate.colornorm.profiles import PROFILES
from nucleate.pathology.images.codec import decode_image
from nucleate.pathology.images.overlays import mosaic

SEED = 0


def least(work, times=7):
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def trained(target, mode, green=True, profile="cpu"):
    """ColorNormNet trained on the target alone."""
    sizes = PROFILES[profile]
    patches = target_patches(target, sample_tissue(target), sizes.patches, sizes.thumbnail, np.random.default_rng(SEED))
    state = TrainingState(sizes, Shape(sizes.widths, mode, green), SEED, torch.device("cpu"))
    metrics = train(patches, sizes, state, SEED, on_step=lambda *_: None, on_checkpoint=lambda _: None)
    return unpack(pack(state.network, sizes, dataset_digest="", metrics=metrics), torch.device("cpu"))


def times(image, target, nets):
    """Seconds per image, ours and theirs."""
    fitted = {name: Fitted.to(method, target) for name, method in METHODS.items()}
    ours = {name: least(lambda by=by: normalize(by, image)) for name, by in fitted.items()}
    ours["colornormnet"] = least(lambda: normalize(nets["offset"], image))
    fit = reference.macenko_fit(target)
    as_torch = [torch.from_numpy(np.ascontiguousarray(part)).float() for part in fit]
    planes = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()
    theirs = {
        "torchstain numpy Macenko": least(lambda: reference.macenko(image, fit), 3),
        "torchstain torch Macenko": least(lambda: reference.macenko_torch(planes, as_torch), 5),
        "TIAToolbox Reinhard": least(lambda: reference.reinhard(image, reference.lab_statistics(target)), 5),
    }
    try:
        spams = importlib.import_module("spams")
    except ImportError:
        sys.stderr.write("spams is not installed: StainTools' Vahadane is left out\n")
    else:
        own = fitted["vahadane"].target
        stains, highest = own[:6].reshape(2, 3), own[6:]
        theirs["StainTools Vahadane"] = least(lambda: reference.vahadane(image, stains, highest, spams), 3)
    pairs = [
        ("macenko", "torchstain torch Macenko"),
        ("colornormnet", "torchstain torch Macenko"),
        ("reinhard", "TIAToolbox Reinhard"),
        ("vahadane", "StainTools Vahadane"),
    ]
    ratios = {f"{a} : {b}": theirs[b] / ours[a] for a, b in pairs if b in theirs}
    return {"seconds": ours, "reference_seconds": theirs, "ratio": ratios}


def agreement(images, target):
    """Mean difference from torchstain's numpy Macenko in grey levels, by image: statistics of all pixels, and as used."""
    fit, everything = reference.macenko_fit(target), macenko.measure(target.reshape(-1, 3), full=True)
    by, full, quick = Fitted.to(METHODS["macenko"], target), [], []
    for image in images:
        expected = reference.macenko(image, fit).astype(int)
        own = macenko.measure(image.reshape(-1, 3), full=True)
        full.append(float(np.abs(macenko.apply(image, own, everything) - expected).mean()))
        quick.append(float(np.abs(normalize(by, image).image - expected).mean()))
    return {"full": [min(full), max(full)], "as_used": [min(quick), max(quick)]}


def stability(image, target):
    """Largest mean difference between Vahadane's results on ten random samples of the tissue, in grey levels."""
    by, examined = Fitted.to(METHODS["vahadane"], target), sample_tissue(image)
    results = []
    for seed in range(10):
        sample = np.random.default_rng(seed).permutation(examined.sample)[: len(examined.sample) // 2]
        results.append(by.apply(image, examined, by.method.measure(sample)).astype(int))
    return max(float(np.abs(result - results[0]).mean()) for result in results[1:])


def tissue_mean(image):
    return sample_tissue(image).sample.mean(axis=0)


def generalisation(images, target, nets):
    """On slides that were not the target, in grey levels: distance of mean tissue colours to the target's, and equivariance.

    Equivariance is |f(x + e) + e - f(x)| over drawn offsets e of up to .1, f being what a network adds on average over tissue.
    """
    goal, rng = tissue_mean(target), np.random.default_rng(SEED)
    methods = {name: Fitted.to(method, target) for name, method in METHODS.items()} | nets
    rows = {"none": {"distance": float(np.mean([np.abs(tissue_mean(image) - goal).mean() for image in images]))}}
    for name, by in methods.items():
        distance, error = [], []
        for image in images:
            examined = sample_tissue(image)
            plain = normalize(by, image).image
            tissue = image.min(axis=2) < 200
            distance.append(float(np.abs(plain[tissue].mean(0) - target[target.min(axis=2) < 200].mean(0)).mean()))
            offset = rng.uniform(-0.1, 0.1, 3)
            moved = normalize(by, add_offsets(image, examined, offset)).image
            error.append(float(np.abs(moved.astype(int) - plain)[tissue].mean()))
        rows[name] = {"distance": float(np.mean(distance)), "equivariance": float(np.mean(error))}
    return rows


def picture(images, target, nets, path):
    """A row per image: itself, then every method; the target first."""
    methods = {name: Fitted.to(method, target) for name, method in METHODS.items()} | nets
    side = 260
    rows = [[cv2.resize(target, (side, side), interpolation=cv2.INTER_AREA)]]
    for image in images:
        shown = [image, *(normalize(by, image).image for by in methods.values())]
        rows.append([cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA) for each in shown])
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(mosaic(rows), cv2.COLOR_RGB2BGR))
    sys.stderr.write(f"{path}: the target, then a row per image: itself, {', '.join(methods)}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=MONUSEG / "pool" / "images")
    parser.add_argument("--target", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not options.images.is_dir():
        sys.stderr.write(f"no images at {options.images}: left out\n")
        return
    threads = len(os.sched_getaffinity(0))
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    paths = sorted(options.images.iterdir())
    target_path = options.target or paths[3]
    target = decode_image(target_path.read_bytes(), target_path.name)
    images = [decode_image(path.read_bytes(), path.name) for path in paths if path != target_path]
    nets = {f"colornormnet {mode}": trained(target, mode) for mode in MODES}
    nets["colornormnet offset, green fixed"] = trained(target, "offset", green=False)
    report = {
        "cores": threads,
        **times(images[0], target, {"offset": nets["colornormnet offset"]}),
        "grey_levels_from_torchstain": agreement(images, target),
        "vahadane_over_10_samples": stability(images[0], target),
        "to_target": generalisation(images, target, nets),
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    if options.out:
        picture(images[:6], target, nets, options.out / "colornorm.png")


if __name__ == "__main__":
    main()
