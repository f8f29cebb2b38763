"""A whole run through real processes: report, models that other commands take, and the same result after kill -9."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.command import draw_tissue, nucleate

from nucleate.orchestrator.cli.work.run_results import HEADINGS

SIDE = 128
pytestmark = pytest.mark.timeout(1200)  # two cores that others use too


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with images and masks in ./pool and ./eval, and all services running out of ./home."""
    work = tmp_path_factory.mktemp("run")
    for folder, count in (("pool", 3), ("eval", 2)):
        for number in range(count):
            draw_tissue(work / folder / "images" / f"{folder}{number}.png", SIDE, seed=number)
            draw_mask(work / folder / "masks" / f"{folder}{number}.png")
    up = nucleate(work / "home", "up")
    assert up.returncode == 0, up.stderr
    yield work
    nucleate(work / "home", "down")


def draw_mask(path: Path) -> None:
    """Write the discs of `draw_tissue` as an instance map."""
    y, x = np.mgrid[:SIDE, :SIDE]
    instances = np.zeros((SIDE, SIDE), np.uint16)
    centres = [(row, column) for row in range(16, SIDE, 32) for column in range(16, SIDE, 32)]
    for label, (row, column) in enumerate(centres, 1):
        instances[(y - row) ** 2 + (x - column) ** 2 < 64] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(instances).save(path)


def start(work: Path, name: str, *more: object):
    folders = ("--eval-images", work / "eval/images", "--eval-masks", work / "eval/masks", "--robot-masks", work / "pool/masks")
    budget = ("--cycles", 1, "--profile", "tiny", "--seed", 3)
    return nucleate(work / "home", "run", "start", work / "pool/images", *folders, *budget, "--name", name, *more, timeout=900)


def scores(out: Path) -> list[dict[str, object]]:
    rows = json.loads((out / "report.json").read_text())["rows"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def first(work: Path) -> Path:
    """The results folder of an undisturbed run."""
    done = start(work, "first", "--out", work / "out")
    assert done.returncode == 0, done.stderr
    for heading in HEADINGS[1:]:
        assert heading in done.stdout
    assert "classical" in done.stdout
    assert "cycle 1" in done.stdout
    assert "done  " in done.stderr
    return work / "out"


def test_the_report_names_rows_models_and_provenance(first: Path, work: Path):
    report = json.loads((first / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["classical", "cycle 1"]
    assert all(0 <= row[score] <= 1 for row in report["rows"] for score in ("dice1", "dice2", "aji", "ajip", "pq", "dq", "sq"))
    assert report["models"] == {kind: str(first / "models" / kind) for kind in ("hovernet", "interactive")}
    assert (report["profile"], report["seed"], report["images"]) == ("tiny", 3, str(work / "pool/images"))
    with (first / "report.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["classical", "cycle 1"]
    assert "<html" in (first / "report.html").read_text()


def test_its_models_are_taken_by_the_other_commands(first: Path, work: Path):
    models = json.loads((first / "report.json").read_text())["models"]
    segmented = nucleate(
        work / "home", "segment", work / "eval/images", "--model", models["hovernet"], "--out", work / "segmented"
    )
    assert segmented.returncode == 0, segmented.stderr
    assert sorted(path.name for path in (work / "segmented").iterdir()) == ["eval0.png", "eval1.png"]
    image = work / "eval/images/eval0.png"
    clicked = nucleate(
        work / "home", "click", image, "--at", "16,16", "--model", models["interactive"], "--out", work / "mask.png"
    )
    assert clicked.returncode == 0, clicked.stderr
    mask = np.asarray(Image.open(work / "mask.png"))
    assert mask.shape == (SIDE, SIDE)
    assert set(np.unique(mask)) <= {0, 255}


def test_the_run_is_listed_shown_and_reported_again(first: Path, work: Path):
    (listed,) = [run for run in json.loads(nucleate(work / "home", "run", "list", "--json").stdout) if run["run_id"] == "first"]
    assert listed["state"] == "RUN_STATE_DONE"
    assert "first  done  cycle 1/1" in nucleate(work / "home", "run", "show", "first").stdout
    again = nucleate(work / "home", "report", "first", "--out", work / "again")
    assert again.returncode == 0, again.stderr
    assert scores(work / "again") == scores(first)


@pytest.mark.parametrize("victim", ["hovernet", "orchestrator"])
def test_a_killed_process_changes_nothing(first: Path, work: Path, victim: str):
    home, name = work / "home", f"killed-{victim}"
    assert start(work, name, "--detach", "--out", work / name).returncode == 0
    wait_for_step(home, name, "train")
    os.kill(json.loads((home / "services.json").read_text())["services"][victim]["pid"], signal.SIGKILL)
    up = nucleate(home, "up")
    assert up.returncode == 0, up.stderr
    resumed = nucleate(home, "run", "resume", timeout=900)
    assert resumed.returncode == 0, resumed.stderr
    assert scores(work / name) == scores(first)
    steps = json.loads(nucleate(home, "run", "show", name, "--json").stdout)["steps"]
    assert sum(step["attempts"] for step in steps) <= len(steps) + 1


def wait_for_step(home: Path, name: str, words: str) -> None:
    """Wait until the run works on a step whose name holds `words`."""
    for _ in range(600):
        run = json.loads(nucleate(home, "run", "show", name, "--json").stdout)
        if words in run["step"]:
            return
        assert run["state"] == "RUN_STATE_RUNNING", run["error"]
        time.sleep(0.1)
    raise AssertionError(f"{name} never came to {words}")
