"""One behaviour, three stores: a folder, memory, and S3 on a real server."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nucleate import errors
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.jobs import JobRunner
from nucleate.runtime.store import FolderStore, ObjectStore, open_store
from nucleate.runtime.store.s3 import s3_client
from nucleate.v1 import refiner_pb2 as pb

HOSTILE = [
    *(
        "",
        "/etc/passwd",
        "../outside",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "a b",
        "a\nb",
        "a\x00b",
        "ä",
        "a*",
        "~",
        "${x}",
    ),
    *("x" * 201, "x/" * 450 + "x", ".partial/x"),
]


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        server = request.getfixturevalue("s3_server")
        return open_store(f"s3://t-{uuid.uuid4().hex[:12]}", server.settings())
    return open_store("memory:" if request.param == "memory" else (tmp_path / "a store").as_uri())


class TestEveryStore:
    def test_round_trip_and_overwrite(self, store: ObjectStore) -> None:
        store.put("a/b.bin", b"first", "text/plain")
        store.put("a/b.bin", b"second")
        store.put("empty", b"")
        assert (store.get("a/b.bin"), store.get("empty")) == (b"second", b"")
        assert store.exists("a/b.bin")
        assert not store.exists("a")

    def test_missing(self, store: ObjectStore) -> None:
        for key in ("none", "no/such/key"):
            assert not store.exists(key)
            store.delete(key)
            with pytest.raises(errors.NotFound, match=key):
                store.get(key)

    def test_list_by_prefix_and_delete(self, store: ObjectStore) -> None:
        keys = ["jobs/a/1", "jobs/a/10", "jobs/a/2", "jobs/ab", "sha256/x"]
        for key in reversed(keys):
            store.put(key, b"x")
        assert list(store.list()) == keys
        assert list(store.list("jobs/a")) == keys[:4]
        assert list(store.list("jobs/a/1")) == keys[:2]
        assert list(store.list("nothing/")) == []
        store.delete("jobs/a/10")
        assert list(store.list("jobs/a/")) == ["jobs/a/1", "jobs/a/2"]

    def test_large_object(self, store: ObjectStore) -> None:
        data = bytes(range(256)) * 32_768  # 8 MiB
        store.put("large", data)
        assert store.get("large") == data
        assert store.put_new("large-new", data)
        assert store.get("large-new") == data

    def test_files_of_any_size(self, store: ObjectStore, tmp_path: Path) -> None:
        source, copy = tmp_path / "source", tmp_path / "copy"
        source.write_bytes(bytes(range(256)) * 65_536)  # 16 MiB: several parts of S3
        blobs = Blobs(store)
        blob = blobs.put_file(source, "image/tiff")
        assert blob == blobs.put(source.read_bytes(), "image/tiff")
        blobs.get_file(blob, copy)
        assert copy.read_bytes() == source.read_bytes()
        store.put(blob.uri, b"damaged")
        with pytest.raises(errors.CorruptBlob):
            blobs.get_file(blob, tmp_path / "other")
        assert not (tmp_path / "other").exists()
        with pytest.raises(errors.NotFound, match="none"):
            store.get_file("none", tmp_path / "other")
        with pytest.raises(errors.Fenced):
            blobs.fenced().get_file(blobs.put(b"mask", "image/png", sealed=True), tmp_path / "other")

    @pytest.mark.parametrize("key", HOSTILE)
    def test_hostile_keys(self, store: ObjectStore, key: str) -> None:
        for operation in (
            store.get,
            store.exists,
            store.delete,
            lambda key: store.put(key, b""),
            lambda key: store.put_new(key, b""),
        ):
            with pytest.raises(errors.InvalidInput):
                operation(key)

    def test_one_of_16_conditional_writes_wins(self, store: ObjectStore) -> None:
        start = threading.Barrier(16)

        def write(number: int) -> bool:
            start.wait()
            return store.put_new("race/key", b"%d" % number)

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(write, range(16)))
        assert won.count(True) == 1
        assert store.get("race/key") == b"%d" % won.index(True)

    def test_blobs_are_checked_and_heal(self, store: ObjectStore) -> None:
        blobs = Blobs(store)
        blob = blobs.put(b"pixels", "image/png", dtype="uint8", shape=(2, 3))
        assert blobs.get(blob) == b"pixels"
        store.put(blob.uri, b"pixelS")
        with pytest.raises(errors.CorruptBlob, match=blob.uri):
            blobs.get(blob)
        assert blobs.put(b"pixels", "image/png", dtype="uint8", shape=(2, 3)) == blob
        assert blobs.get(blob) == b"pixels"

    def test_jobs_are_kept(self, store: ObjectStore) -> None:
        request, response = pb.RefinerServiceTrainRequest(job_id="kept", seed=1), pb.RefinerServiceTrainResponse
        result = pb.RefinerServiceTrainResult(metrics={"loss": 0.5})
        *_, last = JobRunner(store, "refiner").stream(request, response, lambda _job: result)
        assert last.result == result
        (replayed,) = JobRunner(store, "refiner").stream(request, response, lambda _job: pytest.fail("it ran again"))
        assert replayed == last
        request.seed = 2
        with pytest.raises(errors.JobConflict):
            next(JobRunner(store, "refiner").stream(request, response, lambda _job: result))


class TestS3:
    def test_wrong_credentials_are_refused(self, s3_server) -> None:
        for wrong in ({"s3_secret_key": "wrong"}, {"s3_access_key": "nobody"}):
            with pytest.raises(
                errors.StoreUnreachable, match=rf"{s3_server.endpoint}/bucket refused the credentials"
            ) as caught:
                open_store("s3://bucket", s3_server.settings(**wrong))
            assert "wrong" not in str(caught.value)

    def test_wrong_secret_is_refused_for_conditional_writes(self, s3_server) -> None:
        good = open_store("s3://conditional", s3_server.settings())
        bad = open_store("s3://conditional", s3_server.settings())
        bad._client = s3_client(s3_server.settings(s3_secret_key="wrong"))
        with pytest.raises(errors.StoreUnreachable, match="SignatureDoesNotMatch"):
            bad.put_new("key", b"x")
        assert not good.exists("key")

    def test_nothing_listens(self, s3_server) -> None:
        with pytest.raises(errors.StoreUnreachable, match=r"127\.0\.0\.1:9/bucket cannot be reached: .*refused"):
            open_store("s3://bucket", s3_server.settings(s3_endpoint="127.0.0.1:9"))

    def test_a_server_that_never_answers(self, s3_server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nucleate.runtime.store.s3.READ_SECONDS", 0.1)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(errors.StoreUnreachable, match=f"{endpoint}/bucket cannot be reached: .*timed out"):
                open_store("s3://bucket", s3_server.settings(s3_endpoint=endpoint))

    def test_tls_where_there_is_none(self, s3_server) -> None:
        with pytest.raises(
            errors.StoreUnreachable, match=r"https://.*/bucket cannot be reached: no TLS .* NUCLEATE_S3_SECURE=false"
        ):
            open_store("s3://bucket", s3_server.settings(s3_secure=True))

    def test_not_an_s3_server(self, s3_server) -> None:
        filer = f"127.0.0.1:{s3_server.ports[1]}"
        with pytest.raises(errors.StoreUnreachable, match=filer):
            open_store("s3://bucket", s3_server.settings(s3_endpoint=filer)).get("x")

    def test_bad_endpoint_and_bucket(self, s3_server) -> None:
        for url, changes in (
            ("s3://bucket", {"s3_endpoint": "http://a/b"}),
            ("s3://Not_A_Bucket!", {}),
            ("s3://bucket", {"s3_secret_key": ""}),
        ):
            with pytest.raises(errors.InvalidInput):
                open_store(url, s3_server.settings(**changes))

    def test_killed_server_is_reported_and_comes_back(self, s3_server) -> None:
        store = open_store("s3://restart", s3_server.settings())
        store.put("kept", b"kept")
        s3_server.kill()
        try:
            for operation in (store.get, store.exists, lambda key: store.put_new(key, b""), lambda key: list(store.list(key))):
                with pytest.raises(errors.StoreUnreachable, match=f"{s3_server.endpoint}/restart cannot be reached"):
                    operation("kept")
        finally:
            s3_server.start()
        assert store.get("kept") == b"kept"
        assert store.put_new("new", b"new")


class TestFolder:
    def test_kill_in_the_middle_of_writes_leaves_whole_objects(self, tmp_path: Path) -> None:
        script = """if True:
            import itertools, sys
            from pathlib import Path
            from nucleate.runtime.store import FolderStore
            store = FolderStore(Path(sys.argv[1]))
            print("ready", flush=True)
            for i in itertools.count():
                store.put("same", bytes([i % 256]) * 3_000_000)
                store.put_new(f"new/{i}", bytes([i % 256]) * 3_000_000)
        """
        for _ in range(2):
            with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as writer:
                writer.stdout.readline()
                time.sleep(0.15)
                writer.kill()
        store = FolderStore(tmp_path)
        for key in store.list():
            data = store.get(key)
            assert (len(data), len(set(data))) == (3_000_000, 1), key
        assert "same" in list(store.list())
        assert all(not key.startswith(".partial") for key in store.list())

    def test_key_below_another_key(self, tmp_path: Path) -> None:
        store = FolderStore(tmp_path)
        store.put("a/b", b"x")
        for key in ("a", "a/b/c"):
            with pytest.raises(errors.Conflict):
                store.put(key, b"y")
            with pytest.raises(errors.Conflict):
                store.put_new(key, b"y")
            assert not store.exists(key)

    def test_urls(self, tmp_path: Path) -> None:
        with pytest.raises(errors.InvalidInput):
            open_store("file://host/share")
        with pytest.raises(errors.InvalidInput):
            open_store("ftp://x")
        assert isinstance(open_store(tmp_path.as_uri()), FolderStore)

    def test_unusable_folder(self) -> None:
        with pytest.raises((errors.StoreUnreachable, errors.Conflict)):
            open_store("file:///proc/nothing/here")
