"""What a user waits for, in seconds: the least of a few runs, wall and processor time. `make bench` runs it.

The figures hold for the machine that printed them; compare them with others of the same machine only.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.command import NUCLEATE, draw_tissue, environment

SIDE = 1000


def measured(home: Path, *arguments: object) -> tuple[float, float]:
    """Run `nucleate ARGUMENTS`; return wall and processor seconds, those of its services included where it stops them."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [str(NUCLEATE), *map(str, arguments)], env=environment(home), cwd=home.parent, check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print a line per wait."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        image = draw_tissue(home.parent / "image.png", side=SIDE)
        waits: list[tuple[str, int, tuple[object, ...]]] = [
            ("nucleate --help", 5, ("--help",)),
            ("nucleate up, cold", 1, ("up",)),
            ("nucleate up, all running", 3, ("up",)),
            (f"segment classical, {SIDE}x{SIDE}, services up", 3, ("segment", image, "--model", "classical", "--out", "o")),
            ("synthesize 4 pairs, tiny", 3, ("synthesize", image, "--count", 4, "--profile", "tiny", "--out", "s")),
            ("nucleate down", 1, ("down",)),
            (f"segment classical, {SIDE}x{SIDE}, from nothing", 1, ("segment", image, "--model", "classical", "--out", "o")),
        ]
        sys.stdout.write(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
        for name, times, arguments in waits:
            wall, processor = min(measured(home, *arguments) for _ in range(times))
            sys.stdout.write(f"{name:<48} {wall:7.2f} s wall {processor:7.2f} s command's processor time\n")


if __name__ == "__main__":
    main()
