"""Outlines of an instance map as SVG path data."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from nucleate.client.files.image_files import InstanceMap


def outline_path(instances: InstanceMap) -> str:
    """Lines along the pixel edges where the label changes, in pixels from the top-left corner."""
    width, height, labels = instances.width, instances.height, instances.labels
    rows = [labels[y * width : (y + 1) * width] for y in range(height)]
    columns = [labels[x::width] for x in range(width)]
    horizontal = [f"M{start} {y}H{stop}" for y in range(1, height) for start, stop in _changes(rows[y - 1], rows[y])]
    vertical = [f"M{x} {start}V{stop}" for x in range(1, width) for start, stop in _changes(columns[x - 1], columns[x])]
    return "".join([*horizontal, *vertical])


def _changes(before: array[int], after: array[int]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of positions at which two lines of labels differ."""
    if before == after:
        return
    start = None
    for position, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new and start is None:
            start = position
        elif old == new and start is not None:
            yield start, position
            start = None
    if start is not None:
        yield start, len(after)
