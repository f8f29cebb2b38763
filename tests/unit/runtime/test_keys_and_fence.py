"""No key leaves the store, and no sealed key passes the fence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleate import errors
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.store import FencedStore, FolderStore, MemoryStore, check_key

PIECES = st.sampled_from(["..", ".", "/", "\\", "a", "sealed", "sha256", ".partial", "%2e", "\x00", "é", "-", "_"])


@given(st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=30))
def test_an_allowed_key_is_a_file_below_the_root(key: str) -> None:
    try:
        check_key(key)
    except errors.InvalidInput:
        return
    root = Path("/root-of-store")
    path = Path(f"{root}/{key}")
    assert path.as_posix() == f"{root}/{key}"
    assert path.is_relative_to(root)
    assert not {"..", "."} & set(key.split("/"))
    assert all(" " < letter < "\x7f" and letter not in "\\%:*?\"'<>|~$" for letter in key)


@given(st.lists(PIECES, max_size=6).map("".join))
def test_no_spelling_of_a_sealed_key_passes_the_fence(tail: str) -> None:
    inner = MemoryStore()
    inner.put("sealed/aa/truth", b"truth")
    fenced = FencedStore(inner)
    for key in (f"sealed/{tail}", f"sha256/{tail}/../../sealed/aa/truth"):
        for operation in (fenced.get, fenced.exists, fenced.delete, fenced.list, lambda key: fenced.put(key, b"")):
            with pytest.raises((errors.Fenced, errors.InvalidInput)):
                operation(key)
    assert inner.get("sealed/aa/truth") == b"truth"


def test_fenced_blobs_record_what_was_opened_and_hide_the_rest() -> None:
    blobs = Blobs(MemoryStore())
    shared, other, sealed = blobs.put(b"image", "image/png"), blobs.put(b"other", "image/png"), blobs.put(b"x", "", sealed=True)
    assert sealed.uri.startswith("sealed/")
    fenced = blobs.fenced()
    assert fenced.get(shared) == b"image"
    with pytest.raises(errors.Fenced):
        fenced.get(sealed)
    with pytest.raises(errors.Fenced):
        fenced.put(b"x", "", sealed=True)
    assert (fenced.opened, fenced.store.opened) == ({shared.uri}, {shared.uri})
    assert set(fenced.store.list()) == {shared.uri, other.uri}
    assert blobs.get(sealed) == b"x"


def test_a_blob_is_only_what_it_says_it_is() -> None:
    blobs = Blobs(MemoryStore())
    blobs.store.put("jobs/secret/state", b"state")
    good, other = blobs.put(b"bytes", "x/y"), blobs.put(b"other", "x/y")
    for uri in ("", "jobs/secret/state", "../" + good.uri, good.uri + "/", good.uri.upper(), "sha256/00/" + good.sha256):
        with pytest.raises(errors.InvalidInput, match="blob uri"):
            blobs.get(type(good)(uri=uri, sha256=good.sha256, size=good.size))
    for changes in ({"size": 4}, {"sha256": other.sha256}, {"uri": other.uri}):
        bad = type(good)(uri=good.uri, sha256=good.sha256, size=good.size)
        for field, value in changes.items():
            setattr(bad, field, value)
        with pytest.raises(errors.CorruptBlob):
            blobs.get(bad)
    gone = type(good)(uri=f"sha256/ab/{'ab' * 32}", sha256="ab" * 32, size=1)
    with pytest.raises(errors.NotFound):
        blobs.get(gone)


def test_a_killed_writer_leaves_nothing_for_long(tmp_path: Path) -> None:
    import os

    store = FolderStore(tmp_path)
    old, new = tmp_path / ".partial" / "old", tmp_path / ".partial" / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert list(store.list()) == []
    FolderStore(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)
