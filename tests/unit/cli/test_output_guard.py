"""No command writes onto, into or around what it reads: every command that writes, every relation, to the byte."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from nucleate.errors import InvalidInput
from nucleate.orchestrator.cli.command_tree import app
from nucleate.orchestrator.cli.terminal.output_guard import OUTPUTS

#: Every command that reads files and writes files: its arguments, {} for the input; the option that it writes by.
COMMANDS = {
    "segment": (["{}", "--model", "classical"], "--out"),
    "segment --model": (["elsewhere", "--model", "{}"], "--out"),
    "evaluate": (["{}", "elsewhere"], "--overlays"),
    "evaluate TRUE": (["elsewhere", "{}"], "--overlays"),
    "evaluate --images": (["elsewhere", "elsewhere", "--images", "{}"], "--overlays"),
    "synthesize": (["{}"], "--out"),
    "refine": (["{}", "--real", "elsewhere"], "--out"),
    "refine --real": (["elsewhere", "--real", "{}"], "--out"),
    "refine --save-model": (["{}", "--real", "elsewhere", "--out", "beside"], "--save-model"),
    "preview": (["{}"], "--out"),
    "describe": (["{}"], "--out"),
    "normalize": (["{}", "--target", "elsewhere"], "--out"),
    "normalize --target": (["elsewhere", "--target", "{}"], "--out"),
    "normalize --save-model": (["{}", "--target", "elsewhere", "--out", "beside"], "--save-model"),
    "click": (["{}", "--at", "1,1", "--model", "elsewhere"], "--out"),
    "demo": (["{}"], "--out"),
    "run start": (["{}"], "--out"),
    "bench clicks": (["--images", "{}", "--masks", "elsewhere", "--model", "elsewhere"], "--out"),
    "bench realism": (["--real", "{}", "--synthetic", "elsewhere"], "--out"),
}


def everything(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def targets(source: Path) -> dict[str, Path]:
    link = source.parent / "link"
    link.symlink_to(source, target_is_directory=True)
    return {
        "is the input": source,
        "lies in the input": source / "deep" / "er",
        "holds the input": source.parent,
        "a link to the input": link,
        "the input by a detour": source / ".." / source.name,
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_outputs_stay_apart_from_inputs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("mine/pool", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").write_bytes(b"an original")
    arguments, option = COMMANDS[name]
    words = [word for word in name.split() if not word.startswith("-") and not word.isupper()]
    places = targets(tmp_path / "mine" / "pool")
    before = everything(tmp_path)
    for relation, target in places.items():
        given = [word.format(tmp_path / "mine" / "pool") for word in arguments]
        done = CliRunner().invoke(app, [*words, *given, option, str(target)])
        assert isinstance(done.exception, InvalidInput), (relation, done.output)
        assert f"{option} {target}" in str(done.exception)
        assert "overwritten" in str(done.exception)
        assert everything(tmp_path) == before


def test_the_word_for_the_training_free_model_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classical").mkdir()  # as an earlier run of the same command left it
    done = CliRunner().invoke(app, ["segment", "pool", "--model", "classical", "--out", "classical"])
    assert "pool does not exist" in str(done.exception)


def test_the_matrix_names_every_command_that_reads_and_writes():
    def walk(tree: typer.Typer, prefix: str = "") -> set[str]:
        found = set()
        for command in tree.registered_commands:
            parameters = inspect.signature(command.callback).parameters
            kinds = {name: str(parameter.annotation) for name, parameter in parameters.items()}
            reads = any("Path" in kind or "Images" in kind for name, kind in kinds.items() if name not in OUTPUTS)
            if reads and any(name in OUTPUTS and "bool" not in kind for name, kind in kinds.items()):
                found.add(f"{prefix}{command.name or command.callback.__name__}")
        for group in tree.registered_groups:
            found |= walk(group.typer_instance, f"{group.name} ")
        return found

    covered = {" ".join(word for word in name.split() if not word.startswith("-") and not word.isupper()) for name in COMMANDS}
    assert walk(app) == covered
