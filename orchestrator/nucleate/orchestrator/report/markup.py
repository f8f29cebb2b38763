"""Small pieces of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]], best: int | None = None) -> str:
    """A table of ready-made cells; the row of index `best` stands out."""
    cells = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
    body = "".join(
        f"<tr{' class=best' if index == best else ''}>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def definitions(pairs: Mapping[str, Any]) -> str:
    """A list of names and values."""
    return "<dl>" + "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs.items()) + "</dl>"


def tile(value: str, label: str, tone: str = "") -> str:
    """One figure that matters."""
    return f'<div class="tile"><b class="{tone}">{escape(value)}</b><span>{escape(label)}</span></div>'


def picture(image: Mapping[str, Any]) -> str:
    """An embedded image with its caption, and outlines over it if there are any."""
    caption = escape(image["caption"])
    source = f"data:{image['media_type']};base64,{image['base64']}"
    drawn = ""
    if image.get("outline"):
        box = f"0 0 {image['width']} {image['height']}"
        path = escape(image["outline"])
        # The dark line below the bright one keeps the outline visible on pale stroma and on dark nuclei.
        drawn = f'<svg viewBox="{box}" aria-hidden="true"><path class="halo" d="{path}"/><path d="{path}"/></svg>'
    return (
        f'<figure><div class="patch"><img src="{source}" alt="{caption}" loading="lazy">{drawn}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def score(value: float | None) -> str:
    """A score with three digits."""
    return "–" if value is None else f"{value:.3f}"


def change(value: float | None) -> str:
    """A signed difference of scores, coloured."""
    if value is None:
        return "–"
    tone = "good" if value > 0 else "bad" if value < 0 else ""
    return f'<span class="{tone}">{value:+.3f}</span>'.replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds in readable units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def per(amount: float, count: int) -> str:
    """A ratio with two digits."""
    return f"{amount / count:.2f}" if count else "–"
