"""Runs the installed command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

NUCLEATE = Path(sys.executable).with_name("nucleate")
TRACELESS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "120"}


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user whose installation is at `home`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUCLEATE_")}
    return {**inherited, **TRACELESS, "NUCLEATE_HOME": str(home), **more}


def nucleate(home: Path, *arguments: object, timeout: float = 240, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `nucleate ARGUMENTS` with pipes for its outputs."""
    command = [str(NUCLEATE), *map(str, arguments)]
    return subprocess.run(
        command, env=environment(home, **more), cwd=home.parent, capture_output=True, text=True, timeout=timeout, check=False
    )


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the command's one `error: …` line; there is no traceback beside it."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def draw_tissue(path: Path, side: int = 96, seed: int = 0) -> Path:
    """Write a pink field with dark blue discs, as far as a threshold is concerned an H&E image."""
    rng = np.random.default_rng(seed)
    rgb = np.clip(rng.normal((228, 160, 200), 4, (side, side, 3)), 0, 255)
    y, x = np.mgrid[:side, :side]
    for row in range(16, side, 32):
        for column in range(16, side, 32):
            disc = (y - row) ** 2 + (x - column) ** 2 < 64
            rgb[disc] = rng.normal((85, 60, 140), 4, (int(disc.sum()), 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8)).save(path)
    return path
