"""Line charts as inline SVG: one score over the cycles, with what it is to be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

# Report, Table 4.1: HoVer-Net after each cycle of the proposed method.
TABLE_4_1: Mapping[str, Sequence[float]] = {
    "dice1": (0.458, 0.588, 0.704, 0.746, 0.746),
    "aji": (0.229, 0.308, 0.426, 0.487, 0.504),
    "pq": (0.276, 0.323, 0.440, 0.508, 0.515),
}

_WIDTH, _HEIGHT = 360, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 12, 12, 30


def score_chart(title: str, key: str, ours: Sequence[float | None], classical: float | None) -> str:
    """Draw one score, 0..1, over the cycles: ours, the classical row and the report's as reference lines."""
    theirs = TABLE_4_1[key]
    last = max(len(ours), len(theirs), 2)
    known = [value for value in (*ours, *theirs, classical) if value is not None]
    top = min(1.0, (int(max(known) * 5 + 0.25) + 1) / 5)
    scale = _Scale(last, top)
    parts = [scale.grid()]
    parts.append(scale.line([*enumerate(theirs, 1)], "theirs"))
    if classical is not None:
        y = scale.y(classical)
        parts.append(f'<line class="classical" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            _title(
                f"classical: {classical:.3f}",
                f'<rect class="hit" x="{_LEFT}" y="{y - 5:.1f}" width="{_WIDTH - _LEFT - _RIGHT}" height="10"/>',
            )
        )
    points = [(cycle, value) for cycle, value in enumerate(ours, 1) if value is not None]
    parts.append(scale.line(points, "ours"))
    if points:
        cycle, value = points[-1]
        above = -11 if scale.y(value) > _TOP + 20 else 20
        parts.append(f'<text class="value" x="{scale.x(cycle):.1f}" y="{scale.y(value) + above:.1f}">{value:.3f}</text>')
    description = f"{title} by cycle: " + ", ".join(f"cycle {cycle} {value:.3f}" for cycle, value in points)
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(description)}">{"".join(parts)}</svg></figure>'
    )


def legend(classical: bool) -> str:
    """Explain the three lines once for all charts."""
    entries = [("ours", "this run, HoVer-Net"), ("theirs", "report, Table 4.1")]
    if classical:
        entries.insert(1, ("classical", "classical segmentation, no training"))
    keys = "".join(
        f'<span><svg viewBox="0 0 26 10" aria-hidden="true"><line class="{name}" x1="1" x2="25" y1="5" y2="5"/>'
        f"{_mark(13, 5, name)}</svg>{label}</span>"
        for name, label in entries
    )
    return f'<p class="legend">{keys}</p>'


def _mark(x: float, y: float, name: str) -> str:
    if name == "ours":
        return f'<circle class="ours" cx="{x:.1f}" cy="{y:.1f}" r="4.2"/>'
    if name == "theirs":
        return f'<path class="theirs" d="M{x:.1f} {y - 4:.1f}l4 4l-4 4l-4 -4z"/>'
    return ""


def _title(text: str, shape: str) -> str:
    return f"<g><title>{escape(text)}</title>{shape}</g>"


class _Scale:
    """Cycles 1..last and scores 0..top to SVG units."""

    def __init__(self, last: int, top: float) -> None:
        self._last = last
        self._top = top

    def x(self, cycle: float) -> float:
        inner = _WIDTH - _LEFT - _RIGHT - 24
        return _LEFT + 12 + inner * (cycle - 1) / (self._last - 1)

    def y(self, value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / self._top)

    def grid(self) -> str:
        parts = []
        for step in range(round(self._top * 5) + 1):
            y = self.y(step / 5)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{step / 5:.1f}</text>')
        every = 1 if self._last <= 12 else 5
        shown = [cycle for cycle in range(1, self._last + 1) if cycle == 1 or cycle % every == 0]
        parts += [self._tick(cycle, f"cycle {cycle}" if cycle == 1 else str(cycle)) for cycle in shown]
        return "".join(parts)

    def _tick(self, cycle: int, label: str) -> str:
        return f'<text class="tick" x="{self.x(cycle):.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{label}</text>'

    def line(self, points: Sequence[tuple[int, float]], name: str) -> str:
        if not points:
            return ""
        path = "M" + "L".join(f"{self.x(cycle):.1f} {self.y(value):.1f}" for cycle, value in points)
        label = {"ours": "this run", "theirs": "report"}[name]
        marks = "".join(
            _title(f"{label}, cycle {cycle}: {value:.3f}", _mark(self.x(cycle), self.y(value), name)) for cycle, value in points
        )
        return f'<path class="{name} curve" d="{path}"/>{marks}'
