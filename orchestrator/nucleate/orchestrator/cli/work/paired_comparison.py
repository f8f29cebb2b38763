"""Two measurements of the same nuclei, compared nucleus by nucleus."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nucleate.errors import InvalidInput

RESAMPLES = 1000
_TARGETS = (0.80, 0.85, 0.90)

Nucleus = tuple[str, int]
Row = Mapping[str, Any]


def read_rows(path: Path) -> dict[Nucleus, Row]:
    """Read rows.jsonl by (image, label).

    Raises:
        InvalidInput: no such file, or another kind of file.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found = {(str(row["image"]), int(row["nucleus"])): row for row in rows if row["iou"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidInput(f"{path} cannot be read as rows: give the rows.jsonl of `bench clicks --out`") from None
    if not found:
        raise InvalidInput(f"{path} has no rows: give the rows.jsonl of `bench clicks --out`")
    return found


def differences(before: Mapping[Nucleus, Row], after: Mapping[Nucleus, Row]) -> dict[str, Any]:
    """Means of both, their difference and its 95 % bootstrap interval: images are drawn, then nuclei within them.

    Raises:
        InvalidInput: no nucleus in common, or another number of clicks at most.
    """
    common = sorted(before.keys() & after.keys())
    if not common:
        raise InvalidInput("the measurements have no nucleus in common: use the same images and the same --seed")
    most = _most([before[key] for key in common], [after[key] for key in common])
    figures = {}
    for name in ("iou1", *(f"noc{round(100 * target)}" for target in _TARGETS)):
        pairs = [(_figure(before[key], name, most), _figure(after[key], name, most)) for key in common]
        figures[name] = {
            "before": sum(old for old, _ in pairs) / len(pairs),
            "after": sum(new for _, new in pairs) / len(pairs),
            "difference": sum(new - old for old, new in pairs) / len(pairs),
            "interval": _interval([new - old for old, new in pairs], [image for image, _ in common]),
        }
    return {"n": len(common), "figures": figures}


def _most(*measurements: Sequence[Row]) -> int:
    """Clicks at most: what nuclei that never reached IoU .9 were given."""
    given = [max((len(row["iou"]) for row in rows if row["iou"][-1] < max(_TARGETS)), default=0) for rows in measurements]
    if 0 not in given and len(set(given)) > 1:
        raise InvalidInput(f"the measurements have {' and '.join(map(str, given))} clicks at most: use the same --clicks")
    return max(given)


def _figure(row: Row, name: str, most: int) -> float:
    if name == "iou1":
        return float(row["iou"][0])
    target = int(name.removeprefix("noc")) / 100
    return float(next((count for count, reached in enumerate(row["iou"], 1) if reached >= target), most))


def _interval(values: Sequence[float], groups: Sequence[str]) -> list[float]:
    of_group: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        of_group.setdefault(group, []).append(value)
    members, rng, means = list(of_group.values()), random.Random(0), []
    for _ in range(RESAMPLES):
        drawn = [value for each in rng.choices(members, k=len(members)) for value in rng.choices(each, k=len(each))]
        means.append(sum(drawn) / len(drawn))
    means.sort()
    return [means[round(0.025 * RESAMPLES)], means[round(0.975 * RESAMPLES) - 1]]
