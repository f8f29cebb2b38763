"""What the store knows of one job."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from nucleate.errors import InvalidInput, JobConflict, NotFound
from nucleate.runtime.jobs.owner import Owner
from nucleate.runtime.store.keys import quoted
from nucleate.runtime.store.protocol import ObjectStore
from nucleate.v1 import jobs_pb2 as pb

_JOB_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


@dataclass(frozen=True)
class Snapshot:
    """The latest attempt at a job: 0 means that none was made. `heard` is Unix time; `failure` an error class."""

    attempt: int
    owner: Owner | None
    heard: float
    job: pb.GetJobResponse
    failure: str = ""

    def alive(self) -> bool:
        """Tell whether some process may be working on the job."""
        running = self.owner is not None and self.job.state == pb.JOB_STATE_RUNNING
        return running and self.owner is not None and self.owner.alive(time.time() - self.heard)


def request_digest(request: Message) -> str:
    """Return what tells one request from another: type and deterministic bytes."""
    name = request.DESCRIPTOR.full_name
    return f"{name}:{hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()}"


class JobRecord:
    """Reads and writes `jobs/<service>/<job_id>/`."""

    def __init__(self, store: ObjectStore, service: str, job_id: str) -> None:
        if not _JOB_ID.fullmatch(job_id) or job_id in {".", ".."}:
            raise InvalidInput(f"job_id {quoted(job_id)} is not allowed: use 1 to 128 letters, digits and ._-")
        self.job_id = job_id
        self._store = store
        self._folder = f"jobs/{service}/{job_id}"

    def exists(self) -> bool:
        """Tell whether a job of this id was ever started."""
        return self._store.exists(f"{self._folder}/request")

    def claim(self, digest: str) -> None:
        """Bind the id to one request for ever; raise `JobConflict` if it stands for another."""
        key = f"{self._folder}/request"
        if self._store.put_new(key, _json({"request": digest, "created": time.time()}), "application/json"):
            return
        if json.loads(self._store.get(key))["request"] != digest:
            raise JobConflict(f"job '{self.job_id}' was started with another request: choose another job_id")

    def claim_attempt(self, attempt: int, owner: Owner) -> bool:
        """Claim the attempt of that number; False if another process claimed it first."""
        claimed = _json({"owner": asdict(owner), "heard": time.time()})
        return self._store.put_new(self._attempt_key(attempt, "owner"), claimed, "application/json")

    def latest_attempt(self) -> int:
        """Return the number of the latest attempt, 0 if none was made."""
        keys = self._store.list(f"{self._folder}/attempts/")
        return max((int(key.split("/")[-2]) for key in keys if key.endswith("/owner")), default=0)

    def snapshot(self) -> Snapshot:
        """Read the latest attempt and its state."""
        attempt = self.latest_attempt()
        if not attempt:
            return Snapshot(0, None, 0.0, pb.GetJobResponse())
        claimed = json.loads(self._store.get(self._attempt_key(attempt, "owner")))
        owner = Owner(**claimed["owner"])
        try:
            state = json.loads(self._store.get(self._attempt_key(attempt, "state")))
        except NotFound:  # claimed a moment ago, or by a process that died right after
            return Snapshot(attempt, owner, claimed["heard"], pb.GetJobResponse(state=pb.JOB_STATE_RUNNING))
        job = json_format.ParseDict(state["job"], pb.GetJobResponse(), ignore_unknown_fields=True)
        return Snapshot(attempt, owner, state["heard"], job, state["failure"])

    def write(self, attempt: int, job: pb.GetJobResponse, failure: str = "") -> None:
        """Write the state of an attempt; each has its own, so that one taken for dead cannot disturb its successor."""
        fields = json_format.MessageToDict(job, preserving_proto_field_name=True)
        state = _json({"heard": time.time(), "failure": failure, "job": fields})
        self._store.put(self._attempt_key(attempt, "state"), state, "application/json")

    def result(self) -> bytes | None:
        """Return the serialized result, if the job is done."""
        return self._read("result")

    def write_result(self, data: bytes) -> None:
        """Store the result; the first one stays."""
        self._store.put_new(f"{self._folder}/result", data)

    def checkpoint(self) -> bytes | None:
        """Return the latest checkpoint, if there is one."""
        return self._read("checkpoint")

    def has_checkpoint(self) -> bool:
        """Tell whether there is a checkpoint, without reading it."""
        return self._store.exists(f"{self._folder}/checkpoint")

    def write_checkpoint(self, data: bytes) -> None:
        """Replace the checkpoint, atomically."""
        self._store.put(f"{self._folder}/checkpoint", data)

    def drop_checkpoint(self) -> None:
        """Remove the checkpoint once it is of no more use."""
        self._store.delete(f"{self._folder}/checkpoint")

    def request_cancel(self, attempt: int) -> None:
        """Ask whoever works on that attempt to cancel it."""
        self._store.put(self._attempt_key(attempt, "cancel"), b"")

    def cancel_requested(self, attempt: int) -> bool:
        """Tell whether that attempt was asked to cancel."""
        return self._store.exists(self._attempt_key(attempt, "cancel"))

    def _attempt_key(self, attempt: int, name: str) -> str:
        return f"{self._folder}/attempts/{attempt:06d}/{name}"

    def _read(self, name: str) -> bytes | None:
        try:
            return self._store.get(f"{self._folder}/{name}")
        except NotFound:
            return None


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()
