"""No command writes onto or into what it reads: one rule around every command, checked before anything starts."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

#: Parameters that name what a command writes. Every other path is read, and so is a model named by its folder.
OUTPUTS = ("out", "save_model", "overlays")
_MODEL, _NO_FOLDER = "model", "classical"  # the training-free segmenter, whatever a folder of that name is


def guard_outputs(app: typer.Typer) -> None:
    """Put the rule before every command of the tree."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _guarded(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            guard_outputs(group.typer_instance)


def _guarded(callback: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(callback)

    @functools.wraps(callback)
    def checked(*arguments: Any, **options: Any) -> Any:
        given = signature.bind(*arguments, **options)
        given.apply_defaults()
        _check(given.arguments)
        return callback(*arguments, **options)

    return checked


def _check(given: Mapping[str, Any]) -> None:
    outputs = [(name, value) for name, value in given.items() if name in OUTPUTS and isinstance(value, Path)]
    if not outputs:
        return
    from nucleate.client.files.output_files import require_apart

    inputs = list(_inputs(given))
    for name, target in outputs:
        require_apart(target, inputs, f"--{name.replace('_', '-')}")


def _inputs(given: Mapping[str, Any]) -> Iterator[Path]:
    for name, value in given.items():
        if name == _MODEL and isinstance(value, str) and value not in ("", _NO_FOLDER):
            yield Path(value)
        elif name not in OUTPUTS:
            yield from (each for each in (value if isinstance(value, list | tuple) else [value]) if isinstance(each, Path))
