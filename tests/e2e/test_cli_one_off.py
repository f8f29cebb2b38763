"""Commands on folders of images start what they need, and leave nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.command import NUCLEATE, draw_tissue, environment, error_line, nucleate

from nucleate.client.local.processes import identity


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with two images in ./pool and a private ./tmp, which must be empty at the end."""
    for seed, name in enumerate(("a.png", "b.tif")):
        draw_tissue(tmp_path / "pool" / name, seed=seed)
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    left = [path.name for path in (tmp_path / "tmp").iterdir()]
    assert [name for name in left if not name.startswith("torchinductor_")] == []  # torch makes this one when it trains
    assert not (tmp_path / "home").exists()


def run(work: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return nucleate(work / "home", *arguments, TMPDIR=str(work / "tmp"))


def labels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_synthesize_draws_pairs_and_the_same_seed_draws_them_again(work: Path):
    done = run(work, "synthesize", work / "pool", "--count", 2, "--seed", 5, "--profile", "tiny", "--out", work / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(work / "out")
    names = sorted(path.name for path in (work / "out" / "images").iterdir())
    assert len(names) == 2
    assert names == sorted(path.name for path in (work / "out" / "masks").iterdir())
    for name in names:
        instances = labels(work / "out" / "masks" / name)
        assert instances.dtype.kind in "ui"
        assert instances.shape == labels(work / "out" / "images" / name).shape[:2]
    again = run(work, "synthesize", work / "pool", "--count", 2, "--seed", 5, "--profile", "tiny", "--out", work / "out2")
    assert again.returncode == 0
    for name in names:
        assert (work / "out" / "images" / name).read_bytes() == (work / "out2" / "images" / name).read_bytes()


def test_describe_and_preview_before_anything_is_drawn(work: Path):
    described = run(work, "describe", work / "pool", "--profile", "tiny", "--out", work / "known.json", "--json")
    assert described.returncode == 0, described.stderr
    document = json.loads(described.stdout)
    assert document == json.loads((work / "known.json").read_text())
    assert [entry["id"] for entry in document["references"]] == ["a", "b"]
    shown = run(work, "preview", work / "pool" / "a.png", "--profile", "tiny", "--out", work / "pair.png")
    assert shown.returncode == 0, shown.stderr
    assert "nuclei placed" in shown.stderr
    assert labels(work / "pair.png").shape == (136, 268, 3)
    folder = run(work, "preview", work / "pool", "--out", work / "pair.png")
    assert folder.returncode == 2
    assert "one image" in folder.stderr


def test_refine_what_synthesize_drew(work: Path):
    drawn = run(work, "synthesize", work / "pool", "--count", 2, "--profile", "tiny", "--out", work / "drawn")
    assert drawn.returncode == 0, drawn.stderr
    learn = "--real", work / "pool", "--save-model", work / "refiner", "--profile", "tiny", "--importance"
    done = run(work, "refine", work / "drawn", *learn, "--out", work / "refined")
    assert done.returncode == 0, done.stderr
    for part in ("images", "masks"):
        names = [sorted(path.name for path in (work / each / part).iterdir()) for each in ("drawn", "refined")]
        assert names[0] == names[1]
    said = json.loads((work / "refined" / "refinement.json").read_text())
    assert [each["id"] for each in said["images"]] == ["synthetic-00000", "synthetic-00001"]
    again = run(work, "refine", work / "drawn", "--model", work / "refiner", "--out", work / "again")
    assert again.returncode == 0, again.stderr
    for path in (work / "refined" / "images").iterdir():
        assert path.read_bytes() == (work / "again" / "images" / path.name).read_bytes()
    both = run(work, "refine", work / "drawn", "--out", work / "x")
    assert both.returncode == 2
    assert "give --real IMAGES to learn from, or --model REF" in both.stderr


def test_segment_and_evaluate(work: Path):
    flags = "--model", "classical", "--overlays", "--outlines"
    done = run(work, "segment", work / "pool", *flags, "--out", work / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (work / "out").iterdir()) == ["a.png", "b.png", "outlines", "overlays"]
    assert labels(work / "out" / "a.png").max() == 9
    pictures = "--overlays", work / "seen", "--images", work / "pool"
    scored = run(work, "evaluate", work / "out" / "outlines", work / "out", "--json", *pictures)
    assert scored.returncode == 0, scored.stderr
    result = json.loads(scored.stdout)
    perfect = dict.fromkeys(("dice1", "dice2", "aji", "ajip", "pq", "dq", "sq"), 1.0)
    assert result["mean"] == pytest.approx(perfect, abs=1e-5)  # hover_net's SQ divides by the sum + 1e-6
    assert [image["id"] for image in result["images"]] == ["a", "b"]
    assert result["images"][0]["verdicts"] == {"found": 9, "missed": 0, "split": 0, "merged": 0, "extra": 0}
    with Image.open(work / "seen" / "b.png") as seen, Image.open(work / "pool" / "b.tif") as image:
        assert seen.size == (image.width, image.height + 22)


def test_a_slide_needs_a_model(work: Path):
    (work / "slides").mkdir()
    (work / "slides" / "s.svs").write_bytes(b"x")
    done = run(work, "segment", work / "slides", "--model", "classical", "--out", work / "out")
    assert (done.returncode, "needs a trained model" in error_line(done)) == (2, True)
    (work / "slides" / "a.png").write_bytes((work / "pool" / "a.png").read_bytes())
    done = run(work, "segment", work / "slides", "--model", "classical", "--out", work / "out")
    assert "slides (s.svs) and images (a.png)" in error_line(done)


def test_normalize(work: Path):
    target = draw_tissue(work / "target.png", seed=9)
    done = run(work, "normalize", work / "pool", "--target", target, "--out", work / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (work / "out").iterdir()) == ["a", "b"]
    flags = "--target", target, "--method", "macenko", "--save-model", work / "model"
    assert run(work, "normalize", work / "pool", *flags, "--out", work / "fitted").returncode == 0
    assert run(work, "normalize", work / "pool", "--model", work / "model", "--out", work / "again").returncode == 0
    assert (work / "fitted" / "a.png").read_bytes() == (work / "again" / "a.png").read_bytes()
    both = run(work, "normalize", work / "pool", "--model", work / "model", "--target", target, "--out", work / "o")
    assert (both.returncode, "not both" in error_line(both)) == (2, True)


def test_a_damaged_image_leaves_no_output(work: Path):
    whole = (work / "pool" / "a.png").read_bytes()
    (work / "pool" / "a.png").write_bytes(whole[: len(whole) // 2])
    done = run(work, "segment", work / "pool", "--model", "classical", "--out", work / "out")
    assert "a" in error_line(done)
    assert done.returncode == 2
    assert not (work / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_stops_what_it_started(work: Path, number: signal.Signals):
    command = [str(NUCLEATE), "synthesize", "pool", "--count", "5000", "--profile", "tiny", "--out", "out"]
    started = subprocess.Popen(
        command,
        cwd=work,
        env=environment(work / "home", TMPDIR=str(work / "tmp")),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - ignored in a background job
    )
    for line in started.stderr:
        if "drawing" in line:
            break
    (state,) = (work / "tmp").glob("nucleate-*/services.json")
    pid = json.loads(state.read_text())["services"]["synthesis"]["pid"]
    started.send_signal(number)
    _, stderr = started.communicate(timeout=60)
    assert started.returncode == (130 if number is signal.SIGINT else 143)
    assert "Traceback" not in stderr
    assert identity(pid) == ""
    assert not (work / "out").exists()
