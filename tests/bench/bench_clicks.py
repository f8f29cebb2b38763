"""Clicks and time per click of every refinement, solver and backbone, and of the published f-BRS protocol, in one run.

python -m tests.bench.bench_clicks [--images DIR --masks DIR] [--model DIR] [--nuclei 6] [--clicks 5] [--crop PX] [--json FILE]

Without images, on drawn tissue; without a model, on random weights of calibrated statistics: their time is right, their masks
mean nothing. Every row sees the same nuclei and the same simulated person. Milliseconds are of processor time on one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from tests.bench.reference_fbrs import ReferenceObject

from nucleate.interactive.clicks import Click, click_maps
from nucleate.interactive.networks.encoder_runtime import OnnxBackbone, TorchBackbone
from nucleate.interactive.networks.interactive_network import InteractiveNetwork
from nucleate.interactive.networks.model_file import BACKBONE, WEIGHTS, ModelCard, load_backbone, load_network
from nucleate.interactive.networks.network_input import network_input
from nucleate.interactive.networks.onnx_export import export_encoder
from nucleate.interactive.object_mask import ObjectMask, union_box
from nucleate.interactive.prediction.predictor import Predictor
from nucleate.interactive.refinement import Method, RefinementOptions
from nucleate.interactive.training.click_simulation import simulated_click
from nucleate.interactive.training.profiles import profile_named
from nucleate.pathology.images.codec import decode_image, decode_instances
from nucleate.pathology.instances.mask_iou import intersection_over_union
from nucleate.synthesis.phantom.tissue import draw_tissue

REFERENCE = "reference"
LEAST_AREA = 16


@dataclass
class Row:
    """One variant: n nuclei; NoC counts `clicks` for a nucleus that never gets there."""

    name: str
    n: int
    iou1: float
    noc80: float
    noc85: float
    noc90: float
    network_honoured: float
    mask_honoured: float
    evaluations: float
    most_evaluations: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    wall_p50_ms: float
    wall_p99_ms: float
    of_reference: float = 0.0


class Ours:
    """A nucleus clicked with a predictor."""

    def __init__(self, predictor, _planes):
        self.predictor, self.last, self.previous_masks = predictor, None, []

    def click(self, clicks):
        last = self.last
        self.previous_masks.append(last.mask if last else ObjectMask.empty())
        delta, frame = (last.delta, last.frame) if last else (None, None)
        found = self.last = self.predictor.predict(clicks, self.previous_masks, delta, frame=frame)
        return found.mask, found.honoured_by_network, found.honoured, found.evaluations


class Reference:
    """A nucleus clicked by the published protocol."""

    def __init__(self, network, forced, _predictor, planes):
        self.object = ReferenceObject(network, planes, forced)

    def click(self, clicks):
        mask, probability, evaluations = self.object.click(clicks)
        honoured = tuple(bool(probability[c.y, c.x] > 0.5) == c.positive for c in clicks)
        return ObjectMask.from_array(mask), honoured, tuple(bool(mask[c.y, c.x]) == c.positive for c in clicks), evaluations


def click_through(start, truth, most):
    """IoU, honoured shares, evaluations, processor and wall milliseconds of every click on one nucleus."""
    mask, clicks, records = ObjectMask.empty(), [], []
    nucleus = start()
    while len(clicks) < most and (not records or records[-1][0] < 0.9):
        box = union_box(truth, mask)
        click = simulated_click(truth.crop(*box), mask.crop(*box), [c.translated(-box[0], -box[1]) for c in clicks])
        if click is None:
            break
        clicks.append(Click(click.x + box[0], click.y + box[1], click.positive))
        wall, processor = time.perf_counter(), time.process_time()
        mask, by_network, by_mask, evaluations = nucleus.click(clicks)
        spent = 1000 * (time.process_time() - processor), 1000 * (time.perf_counter() - wall)
        box = union_box(truth, mask)
        iou = intersection_over_union(truth.crop(*box), mask.crop(*box))
        records.append((iou, sum(by_network), sum(by_mask), len(clicks), evaluations, *spent))
    return records


def summary(name, nuclei, most):
    """A table row from every nucleus's records."""
    clicks = np.array([record for records in nuclei for record in records])

    def needed(iou):
        return float(np.mean([next((i for i, r in enumerate(records, 1) if r[0] >= iou), most) for records in nuclei]))

    honoured = clicks[:, 1:3].sum(0) / clicks[:, 3].sum()
    quantiles = [float(np.percentile(clicks[:, column], q)) for column in (5, 6) for q in (50, 99)]
    return Row(
        name,
        len(nuclei),
        float(np.mean([records[0][0] for records in nuclei])),
        *(needed(iou) for iou in (0.8, 0.85, 0.9)),
        *map(float, honoured),
        float(clicks[:, 4].mean()),
        int(clicks[:, 4].max()),
        float(clicks[:, 5].mean()),
        *quantiles,
    )


def images_of(given):
    """Images with their instance maps."""
    if not given.images:
        return [draw_tissue(given.seed + i, 512) for i in range(2)]
    masks = {path.stem: path for path in given.masks.iterdir()}
    found = []
    for path in sorted(given.images.iterdir()):
        if path.stem in masks:
            image = decode_image(path.read_bytes(), path.name)
            found.append((image, decode_instances(masks[path.stem].read_bytes(), path.name)))
    return found


def chosen(images, count, seed):
    """Seeded nuclei, the same share of every image: (image index, ObjectMask)."""
    rng, found = np.random.default_rng(seed), []
    for i, (_, instances) in enumerate(images):
        labels = np.flatnonzero(np.bincount(instances.ravel())[1:] >= LEAST_AREA) + 1
        share = (count + i) // len(images)
        found += [(i, ObjectMask.from_array(instances == label)) for label in rng.permutation(labels)[:share]]
    return found


def random_model(profile, images):
    """Random weights with the batch statistics of the images, and logits spread like a trained network's."""
    torch.manual_seed(0)
    network = InteractiveNetwork(profile.architecture)
    planes = [torch.from_numpy(network_input(image)[:128, :128].transpose(2, 0, 1).copy()) for image, _ in images]
    maps = torch.from_numpy(click_maps([Click(64, 64, positive=True), Click(100, 90, positive=False)], 128, 128))
    inputs = torch.stack(planes).float() / 255, maps.expand(len(planes), -1, -1, -1), torch.zeros(len(planes), 1, 128, 128)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(*inputs)
        logits, _ = network.eval()(*inputs)
        middle = logits.median()
        spread = 2 / (logits - middle).abs().quantile(0.9)
        network.head.classify.weight.mul_(spread)
        network.head.classify.bias.sub_(middle).mul_(spread)
    return network, OnnxBackbone(export_encoder(network.encoder), threads=1), profile.crop


def read_model(folder):
    """Network, ONNX backbone and crop of a model folder."""
    card = ModelCard.from_json((folder / "card.json").read_bytes())
    network = load_network(card.config, (folder / WEIGHTS).read_bytes())
    return network, load_backbone(network, (folder / BACKBONE).read_bytes(), threads=1), card.crop


def variants(network, onnx, crop, wanted):
    """Name -> (predictor, how to start a nucleus)."""
    torch_backbone = TorchBackbone(network.encoder)
    found = {}
    for method in Method:
        found[str(method)] = partial(Predictor, network, onnx, crop, RefinementOptions(method))
    for method in (Method.FBRS_B, Method.GAUSS_NEWTON):
        options = RefinementOptions(method, early_stop=False)
        found[f"{method}, forced 20"] = partial(Predictor, network, onnx, crop, options)
        found[f"{method}, torch backbone"] = partial(Predictor, network, torch_backbone, crop, RefinementOptions(method))
    for method in (Method.NONE, Method.FBRS_B, Method.GAUSS_NEWTON):
        options = RefinementOptions(method)
        found[f"{method}, network's mask"] = partial(Predictor, network, onnx, crop, options, contours=False)
    ours = {name: (make(), Ours) for name, make in found.items()}
    for forced in (False, True):
        name = f"{REFERENCE}, forced 20" if forced else REFERENCE
        ours[name] = None, partial(Reference, network, forced)
    return {name: ours[name] for name in ours if not wanted or name in wanted}


def table(rows):
    """Markdown."""
    titles = "variant | IoU1 | NoC80 | NoC85 | NoC90 | network honours | mask honours | evaluations (most) | ms mean"
    lines = [f"| {titles} | p50 | p99 | reference / this |", "|---" + 11 * "|---:" + "|"]
    for r in rows:
        ratio = f"{r.of_reference:.1f}" if r.of_reference else ""
        figures = (
            f"{r.iou1:.3f} | {r.noc80:.2f} | {r.noc85:.2f} | {r.noc90:.2f} | {r.network_honoured:.2%} | {r.mask_honoured:.2%}"
        )
        spent = f"{r.evaluations:.1f} ({r.most_evaluations}) | {r.mean_ms:.1f} | {r.p50_ms:.1f} | {r.p99_ms:.1f} | {ratio}"
        lines.append(f"| {r.name} | {figures} | {spent} |")
    return "\n".join(lines)


def measure(given):
    """A row per variant."""
    images = images_of(given)
    nuclei = chosen(images, given.nuclei, given.seed)
    network, onnx, crop = read_model(given.model) if given.model else random_model(profile_named(given.profile), images)
    rows = []
    for name, (predictor, kind) in variants(network, onnx, given.crop or crop, given.methods).items():
        records, current, planes = [], None, None
        for index, truth in nuclei:
            if index != current:
                current, planes = index, network_input(images[index][0])
                if predictor:
                    predictor.set_image(images[index][0])
            records.append(click_through(partial(kind, predictor, planes), truth, given.clicks))
        rows.append(summary(name, records, given.clicks))
        sys.stderr.write(f"{name}: {len(records)} nuclei, {rows[-1].mean_ms:.1f} ms per click\n")
    for row in rows:
        same = f"{REFERENCE}, forced 20" if "forced" in row.name else REFERENCE
        row.of_reference = next((r.mean_ms / row.mean_ms for r in rows if r.name == same), 0.0)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--model", type=Path, help="folder of card.json, model.safetensors and backbone.onnx")
    parser.add_argument("--profile", default="cpu", help="of the random weights")
    parser.add_argument("--nuclei", type=int, default=6)
    parser.add_argument("--clicks", type=int, default=5, help="most per nucleus; the standard protocol has 20")
    parser.add_argument("--crop", type=int, default=0, help="smallest frame in px; 0 = the model's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", default=[], help="the rows' names; all by default")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if bool(given.images) != bool(given.masks):
        parser.error("give --images and --masks together")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows = measure(given)
    sys.stdout.write(f"{table(rows)}\n\n{rows[0].n} nuclei, at most {given.clicks} clicks, seed {given.seed}\n")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    main()
