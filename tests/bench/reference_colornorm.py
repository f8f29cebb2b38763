"""What others compute, written out plainly, for ratios of time and differences of colour in one run.

Macenko: torchstain's numpy and torch backends (Io 240, beta .15, alpha 1, percentiles 99). Reinhard: TIAToolbox's (float Lab of
cv2, means and deviations per channel). Vahadane: StainTools' (spams.trainDL with lambda .1, lasso with lambda .01), where spams
is installed.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

IO, BETA, ALPHA = 240.0, 0.15, 1.0


def macenko_fit(rgb):
    """Stain matrix 3 x 2 and highest concentrations, of all pixels."""
    density = -np.log((rgb.reshape(-1, 3).astype(float) + 1) / IO)
    stained = density[~np.any(density < BETA, axis=1)]
    _, axes = np.linalg.eigh(np.cov(stained.T))
    plane = axes[:, 1:3] * np.sign(axes[:, 1:3].sum(0, keepdims=True))  # torchstain leaves the signs to luck
    angle = np.arctan2(*(stained @ plane).T[::-1])
    ends = (plane @ np.array([np.cos(a), np.sin(a)]) for a in np.percentile(angle, [ALPHA, 100 - ALPHA]))
    stains = np.array(sorted(ends, key=lambda v: -v[0])).T
    amounts = np.linalg.lstsq(stains, density.T, rcond=None)[0]
    return stains, amounts, np.percentile(amounts, 99, axis=1)


def macenko(rgb, target):
    """The image in the stains of `target`, what `macenko_fit` gave."""
    _, amounts, highest = macenko_fit(rgb)
    moved = IO * np.exp(-target[0] @ (amounts / (highest / target[2])[:, None]))
    return np.minimum(moved, 255).T.reshape(rgb.shape).astype(np.uint8)


def macenko_torch(rgb_3HW, target):
    """The same in torch, float32, as torchstain's torch backend; `target` as tensors."""
    pixels = rgb_3HW.permute(1, 2, 0).reshape(-1, 3)
    density = -torch.log((pixels + 1) / IO)
    stained = density[~(density < BETA).any(dim=1)]
    centred = stained - stained.mean(0)
    _, axes = torch.linalg.eigh(centred.T @ centred / (len(stained) - 1))
    plane = axes[:, 1:3] * torch.sign(axes[:, 1:3].sum(0, keepdim=True))
    seen = stained @ plane
    angle = torch.atan2(seen[:, 1], seen[:, 0])
    count = len(angle)
    ends = [torch.kthvalue(angle, 1 + round(q / 100 * (count - 1))).values for q in (ALPHA, 100 - ALPHA)]
    vectors = [plane @ torch.stack([torch.cos(a), torch.sin(a)]) for a in ends]
    stains = torch.stack(sorted(vectors, key=lambda v: -float(v[0])), dim=1)
    amounts = torch.linalg.lstsq(stains, density.T).solution
    size = amounts.shape[1]
    highest = torch.stack([torch.kthvalue(row, 1 + round(0.99 * (size - 1))).values for row in amounts])
    moved = IO * torch.exp(-target[0] @ (amounts / (highest / target[2])[:, None]))
    return moved.clamp_max(255).T.reshape(rgb_3HW.shape[1], rgb_3HW.shape[2], 3).int()


def reinhard(rgb, target):
    """Means and deviations of float Lab of the whole image moved to the target's, (means, deviations)."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    planes = [lab[..., 0] / 2.55, lab[..., 1] - 128, lab[..., 2] - 128]
    moved = []
    for plane, mean, deviation in zip(planes, *target, strict=True):
        own_mean, own_deviation = (float(v[0, 0]) for v in cv2.meanStdDev(plane))
        moved.append((plane - own_mean) * (deviation / own_deviation) + mean)
    merged = np.stack([moved[0] * 2.55, moved[1] + 128, moved[2] + 128], -1)
    return cv2.cvtColor(np.clip(merged, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


def lab_statistics(rgb):
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    planes = [lab[..., 0] / 2.55, lab[..., 1] - 128, lab[..., 2] - 128]
    return [float(p.mean()) for p in planes], [float(p.std()) for p in planes]


def vahadane(rgb, target_stains, target_highest, spams):
    """StainTools' transform: dictionary by spams, concentrations by its lasso."""
    density = np.maximum(-np.log(np.maximum(rgb, 1) / 255.0), 1e-6)
    bright = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[..., 0] / 255.0
    tissue = np.asfortranarray(density[bright < 0.8].T)
    stains = spams.trainDL(
        X=tissue, K=2, lambda1=0.1, mode=2, modeD=0, posAlpha=True, posD=True, verbose=False, numThreads=1, iter=-1
    ).T
    stains = stains[np.argsort(-stains[:, 0])]
    stains /= np.linalg.norm(stains, axis=1)[:, None]
    pixels = np.asfortranarray(density.reshape(-1, 3).T)
    amounts = spams.lasso(X=pixels, D=np.asfortranarray(stains.T), mode=2, lambda1=0.01, pos=True, numThreads=1).toarray().T
    amounts *= target_highest / np.percentile(amounts, 99, axis=0)
    return np.clip(255 * np.exp(-amounts @ target_stains), 0, 255).reshape(rgb.shape).astype(np.uint8)
