"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message


def print_notice(line: str) -> None:
    """Print a line for the user on stderr."""
    print(line, file=sys.stderr, flush=True)


def show_json(value: object) -> None:
    """Print a value as JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def as_dict(message: Message) -> dict[str, Any]:
    """Turn a message into what `show_json` prints: the protocol's field names, zeros included."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout: figures right-aligned, never cut when stdout is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = list(rows)
    table = Table(*headings, box=box.SIMPLE)
    for index, column in enumerate(table.columns):
        figures = all(line[index][:1].isdigit() or line[index] in {"", "-"} for line in lines)
        column.justify = "right" if figures and index else "left"
    for line in lines:
        table.add_row(*map(Text, line))  # as Text, a cell's [brackets] are no markup
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=Console(width=10_000).measure(table).maximum)
    console.print(table)


def duration(seconds: float) -> str:
    """Say seconds as people do: "0.4 s", "45 s", "12 min 05 s", "3 h 20 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
