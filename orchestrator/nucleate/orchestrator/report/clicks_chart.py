"""A measurement by clicks as one SVG picture: IoU over the clicks with its 95 % band, below it the clicks to each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 640, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 44, 48
_STRIP, _ROW = 100, 28  # height of the part for targets, and of one target in it
_INK, _FAINT, _LINE, _BAND = "#1f2430", "#d9dce3", "#5b3fa0", "#c9bde6"
_TARGET = "#c2571a"


def clicks_chart(figures: Mapping[str, Any]) -> str:
    """Draw the figures of `nucleate bench clicks` (its JSON)."""
    curve, band = figures["iou"], figures["intervals"]["iou"]
    plot = _Plot(len(curve))
    title = f"{figures['n']} nuclei: mean IoU over the clicks, with 95 % intervals"
    parts = [_text(_LEFT, 24, title, size=15), plot.grid(), plot.band(band), plot.curve(curve)]
    for row, (name, never) in enumerate(figures["failures"].items()):
        label = f"{figures[name]:.2f} clicks" + (f", {never} never" if never else "")
        parts.append(plot.target(row, f"IoU .{name.removeprefix('noc')}", figures[name], figures["intervals"][name], label))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="{escape(title)}">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", fill: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'


class _Plot:
    """Clicks 1..last and IoU to SVG units; the IoU axis starts at 0, so that heights compare."""

    def __init__(self, last: int) -> None:
        self._last = last

    def x(self, clicks: float) -> float:
        inner = _WIDTH - _LEFT - _RIGHT
        return _LEFT + inner * (clicks - 0.5) / self._last

    def y(self, iou: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _STRIP - _BOTTOM) * (1 - iou)

    def grid(self) -> str:
        parts = []
        for step in range(11):
            y = self.y(step / 10)
            parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_FAINT}"/>')
            if step % 2 == 0:
                parts.append(_text(_LEFT - 8, y + 4, f"{step / 10:.1f}", anchor="end"))
        every = 1 if self._last <= 20 else 5
        shown = [count for count in range(1, self._last + 1) if count == 1 or count % every == 0]
        parts += [_text(self.x(count), _HEIGHT - _BOTTOM + 18, str(count), anchor="middle") for count in shown]
        parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, "clicks", anchor="middle"))
        return "".join(parts)

    def band(self, intervals: Sequence[Sequence[float]]) -> str:
        there = [f"{self.x(count):.1f},{self.y(high):.1f}" for count, (_, high) in enumerate(intervals, 1)]
        back = [f"{self.x(count):.1f},{self.y(low):.1f}" for count, (low, _) in enumerate(intervals, 1)]
        return f'<polygon points="{" ".join([*there, *reversed(back)])}" fill="{_BAND}" opacity=".6"/>'

    def curve(self, values: Sequence[float]) -> str:
        points = [(self.x(count), self.y(value)) for count, value in enumerate(values, 1)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        marks = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_LINE}"/>' for x, y in points)
        first_x, first_y = points[0]
        label = _text(first_x + 8, first_y + 16, f"{values[0]:.3f} after 1 click", fill=_LINE)
        return f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-width="2"/>{marks}{label}'

    def target(self, row: int, name: str, mean: float, interval: Sequence[float], label: str) -> str:
        """The mean number of clicks to a target: a diamond with its interval, in a row of its own under the curve."""
        x, y, (low, high) = self.x(mean), _HEIGHT - _BOTTOM - _STRIP + _ROW * (row + 1), interval
        rule = f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="{_FAINT}" stroke-dasharray="2 4"/>'
        span = f'<line x1="{self.x(low):.1f}" x2="{self.x(high):.1f}" y1="{y}" y2="{y}" stroke="{_TARGET}" stroke-width="3"/>'
        mark = f'<path d="M{x:.1f} {y - 6}l6 6l-6 6l-6 -6z" fill="{_TARGET}"/>'
        right = self.x(high) + 10
        fits = right + 7 * len(label) < _WIDTH - _RIGHT
        at, anchor = (right, "start") if fits else (self.x(low) - 10, "end")
        caption = _text(at, y - 5, label, anchor=anchor, fill=_TARGET)
        return rule + span + mark + caption + _text(_LEFT - 8, y + 4, name, anchor="end")
