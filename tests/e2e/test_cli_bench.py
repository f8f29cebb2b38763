"""`nucleate bench clicks` and `bench compare` as a user calls them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from tests.e2e.command import draw_tissue, error_line, nucleate

from nucleate.interactive.networks.model_file import ModelCard, pack
from nucleate.interactive.training.profiles import PROFILES
from nucleate.interactive.training.trainer import seeded_network

SIDE = 96


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tiny model as `nucleate report` writes it."""
    folder, profile = tmp_path_factory.mktemp("model") / "interactive", PROFILES["tiny"]
    folder.mkdir()
    for name, data in pack(seeded_network(profile, 0).eval()).items():
        (folder / name).write_bytes(data)
    (folder / "card.json").write_bytes(ModelCard(profile.architecture, profile.crop, "tiny", "").to_json())
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two images in ./images and their masks, nine discs each, in ./masks."""
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for number, (row, column) in enumerate([(r, c) for r in (16, 48, 80) for c in (16, 48, 80)], 1):
        labels[(y - row) ** 2 + (x - column) ** 2 < 64] = number
    (tmp_path / "masks").mkdir()
    for seed, name in enumerate(("a", "b")):
        draw_tissue(tmp_path / "images" / f"{name}.png", SIDE, seed)
        Image.fromarray(labels).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "tmp").mkdir()
    return tmp_path


def bench(work: Path, model: Path, *more: object) -> subprocess.CompletedProcess[str]:
    arguments = ("--images", work / "images", "--masks", work / "masks", "--model", model, "--clicks", 2, "--method", "none")
    return nucleate(work / "home", "bench", "clicks", *arguments, *more, TMPDIR=str(work / "tmp"))


def test_clicks_are_counted_written_drawn_and_compared(work: Path, model: Path):
    done = bench(work, model, "-n", 6, "--jitter", 1, "--patches", 1, "--patch-size", 64, "--out", work / "one", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"n", "iou1", "noc80", "noc85", "noc90", "honoured", "p50_ms", "p99_ms"} <= found.keys()
    assert (found["n"], found["honoured"]) == (6, 1.0)
    assert len(found["iou"]) == 2
    assert found["setting"]["jitter"] == 1
    assert len(found["setting"]["model_digest"]) == 64
    assert found["patches"]["n"] == 1
    assert json.loads((work / "one" / "figures.json").read_text()) == found
    assert len((work / "one" / "rows.jsonl").read_text().splitlines()) == 6
    assert ET.parse(work / "one" / "clicks.svg").getroot().tag.endswith("svg")
    compared = nucleate(work / "home", "bench", "compare", *[work / "one" / "rows.jsonl"] * 2, "--json")
    assert json.loads(compared.stdout)["figures"]["noc80"]["difference"] == 0
    assert list((work / "tmp").glob("nucleate-*")) == []


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (lambda work: (work / "masks" / "b.png").unlink(), (), "no mask for image 'b.png'"),
        (lambda work: Image.new("I;16", (64, 96)).save(work / "masks" / "b.png"), (), "is 64x96 but"),
        (lambda work: (work / "images" / "b.png").write_bytes(b""), (), "is an empty file"),
        (lambda _work: None, ("--method", "magic"), "unknown method 'magic': choose one of default, none"),
        (lambda _work: None, ("--clicks", 0), "--clicks"),
        (lambda _work: None, ("--clicks", 65), "--clicks"),
        (lambda _work: None, ("--proposals", "elsewhere"), "--proposals is for --patches"),
        (lambda _work: None, ("--proposals", "elsewhere", "--patches", 1), "--proposals elsewhere does not exist"),
    ],
)
def test_bad_input_ends_in_one_line_before_anything_starts(work: Path, model: Path, spoil, options, message):
    spoil(work)
    done = bench(work, model, *options, "--out", work / "out")
    assert message in error_line(done)
    assert done.returncode == 2
    assert "starting" not in done.stderr
    assert not (work / "out").exists()


def test_another_kind_of_model_is_refused(work: Path, model: Path, tmp_path: Path):
    card = json.loads((model / "card.json").read_text()) | {"kind": "hovernet"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "card.json").write_text(json.dumps(card))
    (tmp_path / "other" / "model.safetensors").write_bytes(b"x")
    done = bench(work, tmp_path / "other")
    assert "is of kind 'hovernet': this command takes a model of kind 'interactive'" in error_line(done)
    assert done.returncode == 2


def test_masks_without_a_nucleus_are_refused(work: Path, model: Path):
    for name in ("a", "b"):
        Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)).save(work / "masks" / f"{name}.png")
    done = bench(work, model)
    assert "no nucleus of at least 16 px" in error_line(done)
    assert done.returncode == 2


def test_table_6_1_is_one_command(tmp_path: Path):
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for number, (row, column) in enumerate([(r, c) for r in (16, 48, 80) for c in (16, 48, 80)], 1):
        labels[(y - row) ** 2 + (x - column) ** 2 < 64] = number
    (tmp_path / "masks").mkdir()
    names = [f"TCGA-AA-000{patient}-01Z-{image}" for patient in range(6) for image in range(1 + (patient == 0))]
    for seed, name in enumerate(names):
        draw_tissue(tmp_path / "images" / f"{name}.png", SIDE, seed)
        Image.fromarray(labels).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "tmp").mkdir()
    where = "--images", tmp_path / "images", "--masks", tmp_path / "masks"
    flags = "--arms", "none,macenko,augmentation", "--runs", 2, "--profile", "tiny", "--json"
    done = nucleate(tmp_path / "home", "bench", "colornorm", *where, *flags, TMPDIR=str(tmp_path / "tmp"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["supervised"] is True
    assert list(found["arms"]) == ["none", "macenko", "augmentation"]
    assert all(len(runs) == 2 for runs in found["each"].values())
    parts = [{name[:12] for name in found["split"][part]} for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 6
    assert found["each"]["none"] != found["each"]["augmentation"] or found["arms"]["none"]["pq"]["mean"] == 0
    wrong = nucleate(tmp_path / "home", "bench", "colornorm", *where, "--arms", "magic", TMPDIR=str(tmp_path / "tmp"))
    assert (wrong.returncode, "unknown arm 'magic'" in error_line(wrong)) == (2, True)
