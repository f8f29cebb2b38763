"""Help, exit codes and bad input of the installed command; no service is started."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from PIL import Image
from tests.e2e.command import draw_tissue, error_line, nucleate


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Two good images, `a` and `b`, in ./pool; their masks in ./masks."""
    for name in "ab":
        draw_tissue(tmp_path / "pool" / f"{name}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.new("I;16", (96, 96)).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path / "pool"


def test_help_names_the_commands_and_the_exit_codes(home: Path):
    done = nucleate(home, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for word in ("up", "down", "run", "report", "doctor", "synthesize", "segment", "evaluate", "normalize", "click", "demo"):
        assert f" {word} " in done.stdout
    assert "3 waiting for annotation" in " ".join(done.stdout.split())
    assert not home.exists()


def test_version(home: Path):
    assert nucleate(home, "--version").stdout.strip() == "0.1.0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], "No such command 'fly'"),
        (["segment", "pool"], "Missing option '--model'"),
        (["synthesize", "pool", "--out", "o", "--count", "0"], "--count"),
        (["up", "warp"], "unknown service 'warp': choose from synthesis"),
        (["segment", "nowhere", "--model", "classical", "--out", "o"], "nowhere does not exist"),
        (["segment", "pool", "--model", "nothing", "--out", "o"], "no model at nothing"),
        (["synthesize", "pool", "--out", "o", "--profile", "huge"], "unknown profile 'huge': choose one of tiny, cpu, full"),
        (["normalize", "pool", "--target", "pool", "--out", "o"], "holds 2 images: give one image"),
        (["normalize", "pool", "--target", "pool", "--out", "o", "--method", "magic"], "unknown method 'magic'"),
        (["evaluate", "masks", "masks/a.png"], "has no counterpart of the same name"),
        (["click", "pool/a.png", "--at", "5;5", "--model", "m", "--out", "o.png"], "--at '5;5' is not a point"),
        (["run", "start", "pool", "--profile", "huge"], "unknown profile 'huge'"),
        (["run", "start", "pool", "--eval-images", "pool"], "go together"),
        (["run", "start", "pool", "--name", "../x"], "--name"),
        (["run", "start", "pool", "--robot-masks", "masks", "--no-annotation"], "exclude each other"),
        (["demo", "--robot-masks", "masks"], "without IMAGES"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(home: Path, pool: Path, arguments: list[str], words: str):
    done = nucleate(home, *arguments)
    assert words in error_line(done)
    assert done.returncode == 2
    assert done.stdout == ""
    assert sorted(path.name for path in pool.parent.iterdir()) == ["masks", "pool"]


def test_bad_files_are_named(home: Path, pool: Path):
    Image.new("RGB", (1, 1)).save(pool / "dot.png")
    assert "dot.png is 1x1 pixels: images need sides of at least 32" in error_line(nucleate(home, "run", "start", pool))
    (pool / "dot.png").write_bytes(b"")
    assert "dot.png is an empty file" in error_line(nucleate(home, "synthesize", pool, "--out", "o"))
    (pool / "dot.png").unlink()
    Image.new("I;16", (50, 96)).save(pool.parent / "masks" / "b.png")
    done = nucleate(home, "run", "start", pool, "--robot-masks", pool.parent / "masks")
    assert "50x96 but" in error_line(done)
    assert done.returncode == 2
    (pool.parent / "masks" / "b.png").unlink()
    done = nucleate(home, "run", "start", pool, "--eval-images", pool, "--eval-masks", pool.parent / "masks")
    assert "no mask for image 'b.png'" in error_line(done)
    assert not (pool.parent / "o").exists()


def test_a_click_outside_the_image(home: Path, pool: Path, tmp_path: Path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "card.json").write_text('{"kind": "interactive"}')
    (tmp_path / "m" / "model.safetensors").write_bytes(b"x")
    done = nucleate(home, "click", pool / "a.png", "--at", "10,96", "--model", tmp_path / "m", "--out", "o.png")
    assert "click 10,96 is outside" in error_line(done)
    assert done.returncode == 2


def test_dry_run_says_what_would_run_and_starts_nothing(home: Path, pool: Path):
    masks = pool.parent / "masks"
    done = nucleate(home, "run", "start", pool, "--robot-masks", masks, "--cycles", 3, "--name", "trial", "--dry-run")
    assert done.returncode == 0
    assert "images      2 from" in done.stdout
    assert "robot by 2 masks" in done.stdout
    assert not home.exists()


@pytest.mark.parametrize("arguments", [["run", "list"], ["run", "watch"], ["tasks", "list"], ["report", "r", "--out", "o"]])
def test_without_services_the_fix_is_named_and_the_code_is_4(home: Path, arguments: list[str]):
    done = nucleate(home, *arguments)
    assert "start with `nucleate up`" in error_line(done)
    assert done.returncode == 4


def test_an_endpoint_that_does_not_answer(home: Path):
    done = nucleate(home, "run", "list", NUCLEATE_ENDPOINT_ORCHESTRATOR="127.0.0.1:1")
    assert "orchestrator at 127.0.0.1:1 cannot be reached" in error_line(done)
    assert done.returncode == 4


def test_a_store_that_does_not_answer(home: Path, pool: Path):
    store = {"NUCLEATE_STORE": "s3://bucket", "NUCLEATE_S3_ENDPOINT": "127.0.0.1:1", "NUCLEATE_S3_SECURE": "false"}
    keys = {"NUCLEATE_S3_ACCESS_KEY": "a", "NUCLEATE_S3_SECRET_KEY": "b", "NUCLEATE_ENDPOINT_HOVERNET": "127.0.0.1:1"}
    done = nucleate(home, "segment", pool, "--model", "classical", "--out", "o", **store, **keys)
    assert "127.0.0.1:1/bucket cannot be reached" in error_line(done)
    assert done.returncode == 4
    assert not (home.parent / "o").exists()


def test_a_taken_port_is_one_line_and_code_5(home: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = nucleate(home, "up", "synthesis", "--base-port", port)
    assert f"port {port} for synthesis is taken by another program" in error_line(done)
    assert done.returncode == 5


def test_cancelling_needs_a_yes(home: Path):
    done = nucleate(home, "run", "cancel", "r")
    assert "add --yes" in error_line(done)
    assert done.returncode == 5


def test_settings_are_shown_without_secrets(home: Path):
    done = nucleate(home, "config", "show", "--json", NUCLEATE_S3_SECRET_KEY="hush")
    settings = json.loads(done.stdout)
    assert settings["home"] == str(home)
    assert settings["store"] == f"file://{home}/store"
    assert settings["NUCLEATE_S3_SECRET_KEY"] == "***"
    assert "hush" not in done.stdout


def test_doctor_finds_the_packages_and_makes_nothing(home: Path):
    done = nucleate(home, "doctor", "--json")
    assert done.returncode == 0, done.stdout
    found = {each["check"]: each["state"] for each in json.loads(done.stdout)}
    assert found["python"] == found["grpcio"] == "ok"
    assert found["hovernet"] == found["store"] == "off"
    assert not home.exists()


def test_down_without_anything_running(home: Path):
    done = nucleate(home, "down")
    assert done.returncode == 0
    assert "no service runs" in done.stderr
