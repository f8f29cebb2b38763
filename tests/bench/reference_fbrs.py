"""The published f-BRS protocol, formulated anew: what a click costs, and gives, with the same weights.

Zoom-in from the second click on (box of the mask and the positive clicks x 1.4, at least 200 px, enlarged until the long side
has `TARGET` px; kept while positive clicks lie inside and it overlaps the wanted one by half), both flips, f-BRS-B on each by
scipy's L-BFGS (m = 20, factr = 0, pgtol = 1e-8, maxfun = 20, of which its line searches take more), the first click not
optimized, an end as soon as every window pixel is on its side or the mask stands still, clicks after the eighth in the loss
only, torch throughout, the mask cut at 0.49 (Sofiiuk et al. 2020). Where this network differs: sides are multiples of 32 (384
px instead of 400, which favours the reference), and it is also given its last mask, as it was trained to expect one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from scipy.optimize import fmin_l_bfgs_b

from nucleate.interactive.clicks import Click, click_maps
from nucleate.interactive.networks.network_input import PLANES, rescaled_level
from nucleate.interactive.refinement.click_constraints import click_windows

TARGET, SMALLEST, EXPANSION, OVERLAP = 384, 200, 1.4, 0.5
THRESHOLD, MOST_MAPPED, STANDSTILL = 0.49, 8, 0.01
INERTIAL_WEIGHT, BIAS_WEIGHT = 1e-3, 10.0


@dataclass(frozen=True)
class Region:
    """Part of the image, and the size it is shown in."""

    x: int
    y: int
    width: int
    height: int

    @property
    def shown(self):
        """Height and width in multiples of 32, the longer one TARGET."""
        scale = TARGET / max(self.width, self.height)
        return tuple(max(32 * round(scale * side / 32), 32) for side in (self.height, self.width))

    def contains(self, click):
        return self.x <= click.x < self.x + self.width and self.y <= click.y < self.y + self.height

    def overlap(self, other):
        """Intersection over union per axis, multiplied."""
        product = 1.0
        for a, n, b, m in ((self.x, self.width, other.x, other.width), (self.y, self.height, other.y, other.height)):
            both = max(min(a + n, b + m) - max(a, b), 0)
            product *= both / (n + m - both)
        return product

    def local(self, click):
        height, width = self.shown
        x, y = (click.x - self.x + 0.5) * width / self.width, (click.y - self.y + 0.5) * height / self.height
        return Click(int(x), int(y), click.positive)


def _clipped(left, top, right, bottom, shape):
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, shape[1]), min(bottom, shape[0])
    return Region(int(left), int(top), int(right - left), int(bottom - top))


@dataclass
class ReferenceObject:
    """One nucleus; `forced` switches the early end off."""

    network: torch.nn.Module
    planes: np.ndarray
    forced: bool = False
    region: Region | None = None
    delta: np.ndarray | None = None
    mask: np.ndarray | None = None
    _features: torch.Tensor | None = None
    _mapped: tuple = field(default=())

    def click(self, clicks):
        """Mask H x W bool, probability H x W (0 outside the region) and evaluations after the last of `clicks`."""
        self._zoom(clicks)
        self._encode(clicks)
        evaluations, delta = 0, np.zeros(4 * self._features.shape[1])
        if len(clicks) > 1:
            self.delta, evaluations = self._optimize(clicks, delta if self.delta is None else self.delta)
            delta = self.delta
        with torch.no_grad():
            both = self._probability(torch.from_numpy(delta.astype(np.float32)))
        shown = ((both[0] + both[1].flip(1)) / 2).numpy()
        r = self.region
        probability = np.zeros(self.planes.shape[:2], np.float32)
        probability[r.y : r.y + r.height, r.x : r.x + r.width] = cv2.resize(shown, (r.width, r.height))
        self.mask = probability > THRESHOLD
        return self.mask, probability, evaluations

    def _zoom(self, clicks):
        shape, half = self.planes.shape[:2], TARGET // 2
        if self.mask is None or not self.mask.any():
            x, y = clicks[0].x, clicks[0].y
            x, y = (max(min(c, n - half), half) for c, n in ((x, shape[1]), (y, shape[0])))
            wanted = _clipped(x - half, y - half, x + half, y + half, shape)
        else:
            rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
            xs = [c.x for c in clicks if c.positive] + [columns[0], columns[-1]]
            ys = [c.y for c in clicks if c.positive] + [rows[0], rows[-1]]
            sides = [max(EXPANSION * (max(v) - min(v) + 1), SMALLEST) / 2 for v in (xs, ys)]
            x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
            wanted = _clipped(round(x - sides[0]), round(y - sides[1]), round(x + sides[0]), round(y + sides[1]), shape)
        kept = self.region is not None and len(clicks) > 2 and all(self.region.contains(c) for c in clicks if c.positive)
        if not (kept and self.region.overlap(wanted) >= OVERLAP):
            self.region, self._features = wanted, None

    def _encode(self, clicks):
        mapped = tuple(clicks[:MOST_MAPPED])
        if self._features is not None and mapped == self._mapped:
            return
        r, (height, width) = self.region, self.region.shown
        cut = np.ascontiguousarray(self.planes[r.y : r.y + r.height, r.x : r.x + r.width])
        image = np.stack([cv2.resize(cut[..., i], (width, height)) for i in range(cut.shape[2])]).astype(np.float32)
        image[PLANES - 1] = rescaled_level(float(image[PLANES - 1, 0, 0]), max(self.region.shown) / max(r.width, r.height))
        maps = click_maps([r.local(c) for c in mapped], height, width)
        before = np.zeros((r.height, r.width), np.float32)
        if self.mask is not None:
            before = self.mask[r.y : r.y + r.height, r.x : r.x + r.width].astype(np.float32)
        before = cv2.resize(before, (width, height), interpolation=cv2.INTER_NEAREST)
        views = [np.stack([a, a[..., ::-1]]) for a in (image / np.float32(255), maps, before[None])]
        with torch.no_grad():
            self._features = self.network.encoder(*(torch.from_numpy(view) for view in views))
        self._mapped = mapped

    def _probability(self, delta):
        scale, bias = (part[:, :, None, None] for part in delta.view(2, -1).chunk(2, 1))
        return self.network.decode(self._features * (1 + scale) + bias)[0][:, 0].sigmoid()

    def _optimize(self, clicks, start):
        """L-BFGS on one scale and bias per view; returns the best delta seen and the evaluations it took."""
        height, width = self.region.shown
        local = [self.region.local(c) for c in clicks]
        views = [local, [Click(width - 1 - c.x, c.y, c.positive) for c in local]]
        constraints = [click_windows(view, height, width) for view in views]
        pixels = torch.from_numpy(np.concatenate([p + i * height * width for i, (p, _) in enumerate(constraints)]))
        sides = torch.from_numpy(np.concatenate([s for _, s in constraints]))
        state = {"evaluations": 0, "least": np.inf, "delta": start, "mask": None}

        def energy(point):
            state["evaluations"] += 1
            delta = torch.from_numpy(point.astype(np.float32)).requires_grad_()
            probability = self._probability(delta)
            errors = probability.flatten()[pixels] - sides
            loss = sum(errors[sides == side].square().mean() for side in (0, 1) if bool((sides == side).any()))
            scale, bias = delta.view(2, -1).chunk(2, 1)
            loss = loss + INERTIAL_WEIGHT * (scale.square().sum() + BIAS_WEIGHT * bias.square().sum())
            if float(loss.detach()) < state["least"]:
                state["least"], state["delta"] = float(loss.detach()), point.copy()
            if not self.forced and self._ended(probability.detach(), errors.detach(), sides, state):
                return float(loss.detach()), np.zeros_like(point)
            (gradient,) = torch.autograd.grad(loss, delta)
            return float(loss.detach()), gradient.numpy().astype(np.float64)

        fmin_l_bfgs_b(energy, start, m=20, factr=0, pgtol=1e-8, maxfun=20, maxiter=40)
        return state["delta"], state["evaluations"]

    @staticmethod
    def _ended(probability, errors, sides, state):
        limit = torch.where(sides > 0.5, 1 - THRESHOLD, THRESHOLD)
        mask, before = probability > THRESHOLD, state["mask"]
        state["mask"] = mask
        if bool((errors.abs() < limit).all()):
            return True
        if before is None:
            return False
        union = float((mask | before).sum())
        return union > 0 and float((mask & before).sum()) / union > 1 - STANDSTILL
