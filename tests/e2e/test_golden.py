"""Golden outputs: what the commands, the services and the client give, pinned so that moving code is proved harmless.

Only what users touch is driven here, never an inner module: its name may change, these outputs may not. Two comparisons:

- always: with `golden/expected.json` and `golden/clicks.npz`, within tolerances, as another processor rounds otherwise;
- with `NUCLEATE_GOLDEN_EXACT=FOLDER`: SHA-256 digests with `FOLDER/digests.json`, which the first run writes. That proves a
  refactoring on one machine. Put this checkout on PYTHONPATH by absolute paths: the commands run in other folders.

`NUCLEATE_GOLDEN_WRITE=1` writes `golden/` anew, for changes that are meant.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.e2e.command import environment, nucleate
from tests.paths import ROOT

from nucleate.client import Client
from nucleate.v1 import common_pb2

pytestmark = pytest.mark.timeout(600)  # two cores that others use too

GOLDEN = Path(__file__).with_name("golden")
POOL, EVAL = GOLDEN / "pool", GOLDEN / "eval"
IMAGE = EVAL / "images" / "c.png"
EXPECTED, MASKS = GOLDEN / "expected.json", GOLDEN / "clicks.npz"
EXACT = os.environ.get("NUCLEATE_GOLDEN_EXACT", "")
WRITE = bool(os.environ.get("NUCLEATE_GOLDEN_WRITE"))
SCORES = ("dice1", "dice2", "aji", "ajip", "pq", "dq", "sq")
#: The recorded click log: per nucleus of IMAGE, clicks (x, y, positive) in order.
CLICKS = json.loads((GOLDEN / "clicks.json").read_text())


class Golden:
    """What earlier code gave: facts to meet within tolerances, digests to meet exactly."""

    def __init__(self) -> None:
        self.facts = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
        self.digests_file = Path(EXACT or ".") / "digests.json"
        self.recording = not self.digests_file.exists()  # decided once: later parts of the same run must not compare
        self.digests: dict[str, dict[str, str]] = {} if self.recording else json.loads(self.digests_file.read_text())

    def expected(self, part: str, found: Any) -> Any:
        """Return what `part` was, or keep what it is now if asked to."""
        if WRITE:
            self.facts[part] = found
            EXPECTED.write_text(json.dumps(self.facts, indent=1, sort_keys=True) + "\n")
        return self.facts[part]

    def exactly(self, part: str, outputs: dict[str, bytes]) -> None:
        """Compare the digests of all outputs of `part` in exact mode, and do nothing otherwise."""
        if not EXACT:
            return
        found = {name: hashlib.sha256(data).hexdigest() for name, data in outputs.items()}
        if self.recording:
            self.digests[part] = found
            self.digests_file.parent.mkdir(parents=True, exist_ok=True)
            self.digests_file.write_text(json.dumps(self.digests, indent=1, sort_keys=True) + "\n")
        assert found == self.digests.get(part)  # a part that was never recorded is no match


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose ./home runs every service."""
    work = tmp_path_factory.mktemp("golden")
    if EXACT:
        assert_this_checkout_runs(work)
    up = nucleate(work / "home", "up")
    assert up.returncode == 0, up.stderr
    yield work
    nucleate(work / "home", "down")


def assert_this_checkout_runs(work: Path) -> None:
    """An editable installation elsewhere, or a relative PYTHONPATH, would prove something about other code."""
    code = "import nucleate.client, nucleate.orchestrator as o; print(nucleate.client.__file__, o.__file__, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=work, env=environment(work / "home"), capture_output=True, text=True, check=True
    )
    assert all(Path(line).is_relative_to(ROOT) for line in done.stdout.splitlines()), done.stdout


@pytest.fixture(scope="module")
def run_folder(work: Path) -> Path:
    """The results of a tiny run of two cycles: the robot annotates between them."""
    labelled = "--eval-images", EVAL / "images", "--eval-masks", EVAL / "masks", "--robot-masks", POOL / "masks"
    budget = "--cycles", 2, "--profile", "tiny", "--seed", 3, "--name", "golden"
    succeed(work, "run", "start", POOL / "images", *labelled, *budget, "--out", work / "run")
    return work / "run"


def succeed(work: Path, *arguments: object) -> str:
    """Run a command that must succeed; return its stdout."""
    done = nucleate(work / "home", *arguments, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def files(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def canonical(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def map_digest(instances: np.ndarray) -> str:
    """A digest of labels, whatever PNG they were in."""
    return hashlib.sha256(instances.astype("<i4").tobytes()).hexdigest()


def statistics(rgb: np.ndarray) -> dict[str, list[float]]:
    """Grey levels per channel, and of sixteen tiles, which tell a shifted image from the same one."""
    height, width = (side // 4 * 4 for side in rgb.shape[:2])
    tiles = rgb[:height, :width].reshape(4, height // 4, 4, width // 4, 3).mean(axis=(1, 3, 4))
    return {
        "mean": rgb.mean(axis=(0, 1)).round(3).tolist(),
        "std": rgb.std(axis=(0, 1)).round(3).tolist(),
        "tiles": tiles.ravel().round(3).tolist(),
    }


def assert_looks_alike(found: dict[str, list[float]], wanted: dict[str, list[float]]) -> None:
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, abs=0.5), name


def iou(one: np.ndarray, other: np.ndarray) -> float:
    union = np.logical_or(one, other).sum()
    return float(np.logical_and(one, other).sum() / union) if union else 1.0


def test_synthetic_pairs(work: Path, golden: Golden):
    out = work / "pairs"
    succeed(work, "synthesize", POOL / "images", "--count", 3, "--seed", 5, "--profile", "tiny", "--out", out)
    names = sorted(path.name for path in (out / "images").iterdir())
    found = {name: statistics(pixels(out / "images" / name)) for name in names}
    maps = {name: pixels(out / "masks" / name) for name in names}
    digests = {name: [map_digest(instances), int(instances.max())] for name, instances in maps.items()}
    golden.exactly("pairs", files(out))
    wanted = golden.expected("pairs", {"images": found, "maps": digests})
    assert digests == wanted["maps"]
    assert names == sorted(wanted["images"])
    for name in names:
        assert_looks_alike(found[name], wanted["images"][name])


def test_scores_of_a_tiny_run(run_folder: Path, golden: Golden):
    report = json.loads((run_folder / "report.json").read_text())
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in report["rows"]]
    models = {name: data for name, data in files(run_folder / "models").items() if not name.endswith("card.json")}
    golden.exactly("run", {"rows": canonical(rows), **models})
    wanted = golden.expected("run", rows)
    assert [row["name"] for row in rows] == [row["name"] for row in wanted]
    for row, before in zip(rows, wanted, strict=True):
        assert row["annotated_nuclei"] == before["annotated_nuclei"]
        assert {name: row[name] for name in SCORES} == pytest.approx({name: before[name] for name in SCORES}, abs=0.02)


def stored_model(folder: Path) -> common_pb2.Model:
    """A model that a command has put into the store, by its files' digests."""
    blobs = {}
    for name, data in files(folder).items():
        digest = hashlib.sha256(data).hexdigest()
        blobs[name] = common_pb2.Blob(uri=f"sha256/{digest[:2]}/{digest}", sha256=digest, size=len(data))
    return common_pb2.Model(kind="interactive", card=blobs.pop("card.json"), files=blobs)


def replay(work: Path, model: Path) -> tuple[dict[str, np.ndarray], list[bool]]:
    """Place the recorded clicks: the mask after each, the map at the end, and whether all clicks were obeyed each time."""
    port = json.loads((work / "home" / "services.json").read_text())["services"]["interactive"]["port"]
    masks, obeyed = {}, []
    with Client(f"127.0.0.1:{port}", model=stored_model(model)) as client, client.open(IMAGE) as session:
        for number, nucleus in enumerate(CLICKS):
            for index, (x, y, positive) in enumerate(nucleus):
                mask = session.click(x, y, positive=positive)
                masks[f"{number}-{index}"] = np.asarray(mask)
                obeyed.append(mask.clicks_obeyed)
            session.accept()
        masks["map"] = np.asarray(session.close().instances)
    return masks, obeyed


def test_masks_of_a_click_log(work: Path, run_folder: Path, golden: Golden):
    model = run_folder / "models" / "interactive"
    at = "--at", "{},{}".format(*CLICKS[0][0])
    succeed(work, "click", IMAGE, *at, "--model", model, "--out", work / "mask.png")  # puts the model into the store, too
    masks, obeyed = replay(work, model)
    np.testing.assert_array_equal(pixels(work / "mask.png") > 0, masks["0-0"])
    golden.exactly("clicks", {name: mask.tobytes() for name, mask in masks.items()})
    if WRITE:
        np.savez_compressed(MASKS, **masks)
    assert obeyed == golden.expected("clicks", obeyed)
    with np.load(MASKS) as wanted:
        assert sorted(wanted) == sorted(masks)
        for name, mask in masks.items():
            assert iou(mask > 0, wanted[name] > 0) >= 0.99, name


def test_classical_segmentation(work: Path, golden: Golden):
    out = work / "segmented"
    succeed(work, "segment", EVAL / "images", "--model", "classical", "--outlines", "--out", out)
    found = pixels(out / "c.png")
    golden.exactly("segment", files(out))
    kept = GOLDEN / "segmented" / "c.png"
    if WRITE:
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes((out / "c.png").read_bytes())
    wanted = pixels(kept)
    assert found.max() == wanted.max()
    assert iou(found > 0, wanted > 0) >= 0.99
    assert (found == wanted).mean() >= 0.99  # the labels, too


def test_description(work: Path, golden: Golden):
    document = json.loads(succeed(work, "describe", POOL / "images", "--profile", "tiny", "--json"))
    golden.exactly("describe", {"json": canonical(document)})
    assert_close(document, golden.expected("describe", document), "describe")


def assert_close(found: Any, wanted: Any, where: str) -> None:
    """Compare JSON, its numbers within 2 %."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key, value in wanted.items():
            assert_close(found[key], value, f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for index, value in enumerate(wanted):
            assert_close(found[index], value, f"{where}[{index}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=0.02, abs=0.02), where
    else:
        assert found == wanted, where


def test_macenko_normalization(work: Path, golden: Golden):
    out = work / "normalized"
    succeed(work, "normalize", POOL / "images", "--method", "macenko", "--target", IMAGE, "--out", out)
    golden.exactly("normalize", {path.name: pixels(path).tobytes() for path in sorted(out.iterdir())})
    found = {path.stem: statistics(pixels(path)) for path in sorted(out.iterdir())}
    wanted = golden.expected("normalize", found)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert_looks_alike(found[name], values)


def test_evaluation_of_a_kept_segmentation(work: Path, golden: Golden):
    document = json.loads(succeed(work, "evaluate", GOLDEN / "segmented", EVAL / "masks", "--json"))
    golden.exactly("evaluate", {"json": canonical(document)})
    wanted = golden.expected("evaluate", document)
    assert document["mean"] == pytest.approx(wanted["mean"], abs=1e-6)  # counts of pixels: no room for rounding
    assert [(image["id"], image["verdicts"]) for image in document["images"]] == [
        (image["id"], image["verdicts"]) for image in wanted["images"]
    ]
