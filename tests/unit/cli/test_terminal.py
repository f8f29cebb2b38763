"""What people read: durations, progress lines, errors and their codes."""

from __future__ import annotations

import pytest

from nucleate import errors
from nucleate.orchestrator.cli.terminal.exit_codes import exit_code_of, print_error
from nucleate.orchestrator.cli.terminal.options import parse_point
from nucleate.orchestrator.cli.terminal.printing import duration, show_table
from nucleate.orchestrator.cli.terminal.progress import PlainDisplay
from nucleate.v1.common_pb2 import Progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (725, "12 min 05 s"),
        (12_000, "3 h 20 min"),
    ],
)
def test_duration(seconds: float, text: str):
    assert duration(seconds) == text


def test_plain_progress_is_a_line_per_stage(capsys):
    display = PlainDisplay()
    for step in range(50):
        display.update(Progress(stage="training", step=step, total=50, values={"loss": 0.25}, eta_seconds=90))
    display.update(Progress(stage="validating"))
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["training  0/50  loss=0.25  ETA 1 min 30 s", "validating"]
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NucleateError("x"), 1),
        (errors.NotFound("x"), 1),
        (errors.SizeMismatch("x"), 2),
        (errors.TooLarge("x"), 2),
        (errors.StoreUnreachable("x"), 4),
        (errors.Precondition("x"), 5),
        (errors.Cancelled("x"), 130),
    ],
)
def test_exit_codes(error: errors.NucleateError, code: int):
    assert exit_code_of(error) == code


def test_every_error_is_one_line(capsys):
    assert print_error(errors.InvalidImage("x.png is\n  damaged")) == 2
    assert print_error(ZeroDivisionError("division by zero")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: x.png is damaged"
    assert lines[1].startswith("error: ZeroDivisionError: division by zero; this is a defect")
    assert len(lines) == 2


@pytest.mark.parametrize("text", ["", "3", "3,", "a,b", "-1,4", "1,2,3", "1.5,2"])
def test_points_are_two_whole_numbers(text: str):
    assert parse_point("12, 7", "--at") == (12, 7)
    with pytest.raises(errors.InvalidInput, match=r"--at .* is not a point"):
        parse_point(text, "--at")


def test_tables_are_not_cut_where_there_is_no_terminal(capsys):
    show_table(("name", "score"), [("x" * 150 + "[cpu]", "0.5")])
    assert "x" * 150 + "[cpu]" in capsys.readouterr().out
