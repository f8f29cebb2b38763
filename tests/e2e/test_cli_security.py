"""The local installation under TLS with a token: one set of variables serves services and command line."""

from __future__ import annotations

from pathlib import Path

from tests.certificates import self_signed
from tests.e2e.command import draw_tissue, error_line, nucleate


def test_services_and_command_line_speak_tls_and_know_the_token(tmp_path: Path):
    home, pair, image = tmp_path / "home", self_signed(tmp_path), draw_tissue(tmp_path / "image.png")
    secured = {
        "NUCLEATE_TLS_CERT": str(pair.cert),
        "NUCLEATE_TLS_KEY": str(pair.key),
        "NUCLEATE_TLS_CA": str(pair.cert),
        "NUCLEATE_TOKEN": "open-sesame-7f3a",
    }
    half = nucleate(home, "up", "synthesis", **(secured | {"NUCLEATE_TLS_CA": ""}))
    assert (half.returncode, "set it, so that the services can be called" in error_line(half)) == (5, True)
    try:
        up = nucleate(home, "up", "synthesis", "orchestrator", **secured)
        assert up.returncode == 0, up.stderr
        synthesize = ("synthesize", image, "--count", 1, "--profile", "tiny", "--out", tmp_path / "pairs")
        done = nucleate(home, *synthesize, **secured)
        assert done.returncode == 0, done.stderr
        listed = nucleate(home, "run", "list", "--json", **secured)
        assert (listed.returncode, listed.stdout.strip()) == (0, "[]"), listed.stderr
        doctor = nucleate(home, "doctor", **secured)
        assert doctor.returncode == 0, doctor.stdout
        shown = nucleate(home, "config", "show", **secured)

        wrong = nucleate(home, "run", "list", **(secured | {"NUCLEATE_TOKEN": "guess"}))
        assert "does not know that token" in error_line(wrong)
        missing = nucleate(home, "run", "list", **(secured | {"NUCLEATE_TOKEN": ""}))
        assert "asks for a token" in error_line(missing)
    finally:
        down = nucleate(home, "down", **secured)
    logs = "".join(path.read_text() for path in (home / "logs").iterdir())
    assert "open-sesame" not in logs + shown.stdout + "".join(each.stderr for each in (up, done, listed, doctor, shown, down))
    assert '"code": "UNAUTHENTICATED"' in logs
