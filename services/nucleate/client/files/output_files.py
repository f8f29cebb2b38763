"""Result files: all of a command's files appear together at its end, or none does."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from nucleate.errors import InvalidInput, Precondition

_UNSAFE = re.compile(r"[\x00-\x1f/\\:]")


def safe_name(identifier: str) -> str:
    """Return an id as a file name: path separators and control characters become "_"."""
    name = _UNSAFE.sub("_", identifier).strip()
    return name if name not in {"", ".", ".."} else "_"


def require_apart(target: Path, inputs: Iterable[Path], option: str = "--out") -> None:
    """Refuse a target that is, lies in, or holds one of a command's inputs; symbolic links are followed.

    Raises:
        InvalidInput: writing there could replace or mix with what the user gave.
    """
    place = target.resolve()
    for source in inputs:
        given = source.resolve()
        if not given.exists():
            continue  # a URI of the store, or a mistake that the command itself will name
        if place == given:
            relation = "is the input"
        elif given in place.parents:
            relation = "lies in the input"
        elif place in given.parents:
            relation = "holds the input"
        else:
            continue
        raise InvalidInput(f"{option} {target} {relation} {source}: nothing of yours is overwritten, give a folder beside it")


@contextlib.contextmanager
def output_folder(target: Path) -> Iterator[Path]:
    """Give a temporary sibling of `target`; when the block ends well, move its files into `target`, one rename each.

    Files of the same names are replaced, others stay. On an error nothing of `target` is touched.

    Raises:
        InvalidInput: `target` is a file.
        Precondition: it cannot be written.
    """
    target = target.absolute()
    if target.exists() and not target.is_dir():
        raise InvalidInput(f"--out {target} is a file: give a folder")
    created = _missing_parents(target)
    with _domain_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield staging
        with _domain_errors(target):
            staging.chmod(0o777 & ~_umask())
            _move(staging, target)
            created = []
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in created:  # only those that this call made, and only while nobody has used them
            with contextlib.suppress(OSError):
                folder.rmdir()


def write_file(target: Path, data: bytes) -> None:
    """Write one file whole: temporary sibling, then rename."""
    target = target.absolute()
    if target.is_dir():
        raise InvalidInput(f"--out {target} is a folder: give a file name")
    with _domain_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            partial.write_bytes(data)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _move(staging: Path, target: Path) -> None:
    for path in sorted(staging.rglob("*")):
        place = target / path.relative_to(staging)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    target.mkdir(exist_ok=True)


def _missing_parents(target: Path) -> list[Path]:
    return [folder for folder in target.parents if not folder.exists()]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _domain_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as failure:
        raise Precondition(f"cannot write {target}: {failure.strerror}; check space and permissions") from None
