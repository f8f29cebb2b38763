"""Results appear whole or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from nucleate.client.files.output_files import output_folder, safe_name, write_file
from nucleate.errors import InvalidInput, Precondition


def test_files_appear_at_the_end_and_replace_only_their_namesakes(tmp_path: Path):
    out = tmp_path / "results"
    out.mkdir()
    (out / "old.txt").write_text("kept")
    (out / "a.txt").write_text("before")
    with output_folder(out) as staging:
        (staging / "a.txt").write_text("after")
        (staging / "sub").mkdir()
        (staging / "sub" / "b.txt").write_text("b")
        assert (out / "a.txt").read_text() == "before"
        assert not (out / "sub").exists()
    assert {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*.txt")} == {
        "old.txt": "kept",
        "a.txt": "after",
        "sub/b.txt": "b",
    }
    assert list(tmp_path.iterdir()) == [out]


def test_an_error_leaves_no_trace_not_even_parents(tmp_path: Path):
    def interrupted() -> None:
        with output_folder(tmp_path / "deep" / "er" / "out") as staging:
            (staging / "a.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_folders_get_the_usual_permissions(tmp_path: Path):
    (tmp_path / "by_hand").mkdir()
    with output_folder(tmp_path / "out"):
        pass
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == stat.S_IMODE((tmp_path / "by_hand").stat().st_mode)


def test_a_file_where_a_folder_should_be(tmp_path: Path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InvalidInput, match="is a file: give a folder"), output_folder(tmp_path / "out"):
        pass
    with pytest.raises(Precondition, match="cannot write"), output_folder(tmp_path / "out" / "below"):
        pass
    with pytest.raises(InvalidInput, match="is a folder"):
        write_file(tmp_path, b"x")


@pytest.mark.parametrize(
    ("name", "safe"), [("a b.c", "a b.c"), ("../../etc/x", ".._.._etc_x"), ("..", "_"), ("", "_"), ("a\0b", "a_b")]
)
def test_ids_are_never_paths(name: str, safe: str):
    assert safe_name(name) == safe
