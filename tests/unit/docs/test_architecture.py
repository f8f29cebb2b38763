"""What the documentation says of the code is true: modules, files, links, RPCs, rooms."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection
from tests.paths import ROOT

SOURCES = tuple(ROOT / name / "nucleate" for name in ("protos", "services", "orchestrator"))
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
CHANGELOG = ROOT / "CHANGELOG.md"  # names what is gone, too
ARCHITECTURE = ROOT / "docs" / "architecture"
DECISIONS = ROOT / "docs" / "adr"
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#]+)[^)]*\)")
MODULE = re.compile(r"(?<![\w./-])nucleate(?:\.\w+)+(?![\w(])")  # nucleate.open(…) is a client of that name
BENCH = re.compile(r"(?<![\w./-])tests(?:\.\w+)+")
FILE = re.compile(r"`([\w.*/-]+/[\w.*-]+\.(?:py|proto|txt|toml))`")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def names_in(file: Path) -> frozenset[str]:
    """Everything a module defines or imports, and "Class.member"."""
    return frozenset(names_of(ast.parse(file.read_text(encoding="utf-8"))))


def names_of(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[str]:
    for each in node.body:
        if isinstance(each, ast.ClassDef):
            yield prefix + each.name
            yield from names_of(each, f"{prefix}{each.name}.")
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + each.name
        elif isinstance(each, ast.Import | ast.ImportFrom):
            yield from (prefix + (alias.asname or alias.name) for alias in each.names)
        elif isinstance(each, ast.Assign | ast.AnnAssign):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))


def is_there(dotted: str) -> bool:
    """Whether "nucleate.room.module", or that with an attribute behind it, exists. Nothing is imported."""
    parts = dotted.split(".")[1:]
    for source in SOURCES:
        for length in range(len(parts), 0, -1):
            place = source.joinpath(*parts[:length])
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            rest = ".".join(parts[length:])
            if place.is_dir() and not rest:
                return True
            if file.is_file():
                if not rest or rest in names_in(file):
                    return True
                break
    return False


def descriptors() -> dict[str, set[str]]:
    """The RPCs of every service of the protocol."""
    found: dict[str, set[str]] = {}
    for proto in sorted((ROOT / "protos" / "nucleate" / "v1").glob("*.proto")):
        stub = import_module(f"nucleate.v1.{proto.stem}_pb2")
        for name, service in stub.DESCRIPTOR.services_by_name.items():
            found[name] = {method.name for method in service.methods}
    return found


def table() -> dict[str, set[str]]:
    """The RPCs in the table of the architecture page: "`Service.One`, `Two`" names two of one service."""
    found: dict[str, set[str]] = {}
    for line in (ARCHITECTURE / "README.md").read_text(encoding="utf-8").splitlines():
        called = re.findall(r"`([\w.]+)`", line.split("|")[1]) if line.startswith("| `") else []
        if called and re.match(r"\w+Service\.", called[0]):
            service = called[0].split(".")[0]
            found.setdefault(service, set()).update(name.removeprefix(f"{service}.") for name in called)
    return found


def test_the_table_has_every_rpc_and_no_other() -> None:
    assert table() == descriptors()
    text = (ARCHITECTURE / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in (health.SERVICE_NAME, reflection.SERVICE_NAME))


@pages
def test_modules_exist(page: Path) -> None:
    named = set(MODULE.findall(page.read_text(encoding="utf-8")))
    assert not sorted(name for name in named if not is_there(name))


@pages
def test_files_and_benches_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    files = {*FILE.findall(text), *(name.replace(".", "/") + "*" for name in BENCH.findall(text))}
    assert not sorted(name for name in files if not any(ROOT.glob(name)))


@pytest.mark.parametrize("page", [*PAGES, CHANGELOG], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert not [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]


def test_the_check_tells_what_is_there_from_what_is_not() -> None:
    there = "nucleate.pathology", "nucleate.errors.Fenced", "nucleate.runtime.blobs.Blobs.fenced", "nucleate.runtime.jobs.Job"
    assert all(map(is_there, there))
    assert not any(map(is_there, ("nucleate.outlines", "nucleate.errors.Fence", "nucleate.pathology.outlines")))


def test_every_decision_is_in_the_index_under_its_number() -> None:
    decisions = sorted(DECISIONS.glob("0*.md"))
    titles = [re.match(r"# (\d+)\. ", each.read_text(encoding="utf-8")) for each in decisions]
    assert [int(title[1]) if title else None for title in titles] == list(range(1, len(decisions) + 1))
    assert [int(each.name[:4]) for each in decisions] == list(range(1, len(decisions) + 1))
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\[(\d+)\]\(([^)]+)\)", index) == [(str(int(each.name[:4])), each.name) for each in decisions]


def test_the_picture_and_the_list_of_rooms_show_every_room() -> None:
    picture = (ARCHITECTURE / "house.svg").read_text(encoding="utf-8")
    listed = (ARCHITECTURE / "README.md").read_text(encoding="utf-8").split("## The loop")[0]
    top = [each for source in SOURCES[1:] for each in source.iterdir() if each.is_dir() and each.name != "__pycache__"]
    inner = {each.parent.name for room in top for each in room.glob("*/__init__.py")}
    assert len(top) > 5
    assert not {room.name for room in top if f"`nucleate.{room.name}`" not in listed}
    assert not {name for name in {*inner, *(room.name for room in top)} if not re.search(rf"\b{name}\b", picture)}
