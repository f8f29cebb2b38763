"""A run's plan: checked whole before anything is written, then kept as the run's record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from google.protobuf import json_format

from nucleate.errors import Conflict, EmptyInput, InvalidInput, NotFound
from nucleate.orchestrator.profiles import RunProfile, profile_named
from nucleate.runtime.store import ObjectStore
from nucleate.v1 import common_pb2, orchestrator_pb2

MAX_CYCLES = 50
SEALED = "sealed/"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class RunRecord:
    """What a run was started with; never changed afterwards, so that an interrupted run goes on with the same requests."""

    run_id: str
    plan: orchestrator_pb2.RunPlan
    profile: RunProfile
    version: str

    @property
    def annotator(self) -> str:
        """Who annotates: "robot", "person" or "nobody"."""
        if self.plan.no_annotation:
            return "nobody"
        return "robot" if self.plan.oracle else "person"

    def to_json(self) -> bytes:
        """Canonical JSON."""
        document = {
            "run_id": self.run_id,
            "plan": json_format.MessageToDict(self.plan),
            "profile": self.profile.to_json(),
            "version": self.version,
        }
        return json.dumps(document, sort_keys=True, indent=1).encode()

    @staticmethod
    def from_json(data: bytes) -> RunRecord:
        """Read a record back."""
        document = json.loads(data)
        plan = json_format.ParseDict(document["plan"], orchestrator_pb2.RunPlan(), ignore_unknown_fields=True)
        return RunRecord(document["run_id"], plan, RunProfile.from_json(document["profile"]), document["version"])


class RunRecords:
    """The records of all runs, in the object store under `runs/`."""

    def __init__(self, store: ObjectStore, overrides: dict[str, Any] | None = None) -> None:
        self._store = store
        self._overrides = overrides or {}

    def create(self, run_id: str, plan: orchestrator_pb2.RunPlan) -> RunRecord:
        """Check and keep a new run's plan; the same plan again returns the record that exists.

        Raises:
            InvalidInput: something in the plan can never work; the message names it.
            NotFound: a blob of the plan is not in the store.
            Conflict: the run exists with another plan.
        """
        check_run_id(run_id)
        profile = profile_named(plan.profile, self._overrides)
        check_plan(plan)
        record = RunRecord(run_id, plan, profile, version("nucleate"))
        if self._store.exists(_key(run_id)):
            return self._existing(record)
        for name, blob in _blobs(plan):
            if not self._store.exists(blob.uri):
                raise NotFound(f"{name} is not in the object store ({blob.uri}): upload it before starting the run")
        created = self._store.put_new(_key(run_id), record.to_json(), "application/json")
        return record if created else self._existing(record)

    def get(self, run_id: str) -> RunRecord:
        """The record of a run; `NotFound` if there is none."""
        check_run_id(run_id)
        try:
            return RunRecord.from_json(self._store.get(_key(run_id)))
        except NotFound:
            raise NotFound(f"no run '{run_id}': `nucleate run list` shows them") from None

    def _existing(self, wanted: RunRecord) -> RunRecord:
        found = self.get(wanted.run_id)
        if found.plan != wanted.plan:
            raise Conflict(f"run '{wanted.run_id}' exists with another plan: choose another run id, or resume it as it is")
        return found


def check_run_id(run_id: str) -> None:
    """Raise `InvalidInput` unless the id can name keys and jobs."""
    if not _RUN_ID.fullmatch(run_id):
        raise InvalidInput(f"run id '{run_id[:80]}': use 1 to 64 letters, digits, dots, dashes or underscores")


def check_plan(plan: orchestrator_pb2.RunPlan) -> None:
    """Raise `InvalidInput` naming the first thing in the plan that can never work."""
    if not plan.images:
        raise EmptyInput("the plan has no images: give at least one un-annotated image")
    if not 1 <= plan.cycles <= MAX_CYCLES:
        raise InvalidInput(f"{plan.cycles} cycles: give 1 to {MAX_CYCLES}")
    _check_unique("image", (image.id for image in plan.images))
    for image in plan.images:
        _check_readable(f"image '{image.id}'", image.data)
    for kind, labelled in (("evaluation", plan.evaluation), ("oracle", plan.oracle)):
        _check_unique(f"{kind} image", (each.id for each in labelled))
        for each in labelled:
            _check_sealed(f"{kind} mask '{each.id}'", each.instances)
    for each in plan.evaluation:
        _check_readable(f"evaluation image '{each.id}'", each.image)
    if plan.oracle:
        _check_oracle_ids([image.id for image in plan.images], [each.id for each in plan.oracle])
    if plan.HasField("normalization_target"):
        _check_readable("normalization target", plan.normalization_target.data)


def _check_unique(what: str, ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for each in ids:
        if not each.strip():
            raise InvalidInput(f"an {what} has no id: name every image")
        if each in seen:
            raise InvalidInput(f"{what} id '{each}' occurs twice: name every image differently")
        seen.add(each)


def _check_readable(name: str, blob: common_pb2.Blob) -> None:
    if not blob.uri:
        raise InvalidInput(f"{name} has no data: upload it first")
    if blob.uri.startswith(SEALED):
        raise InvalidInput(f"{name} is sealed: only ground-truth masks are, training could not open it")


def _check_sealed(name: str, blob: common_pb2.Blob) -> None:
    if not blob.uri:
        raise InvalidInput(f"{name} has no data: every image of that set needs its mask")
    if not blob.uri.startswith(SEALED):
        raise InvalidInput(f"{name} is not sealed: upload ground truth sealed, so that no training step can open it")


def _check_oracle_ids(images: Sequence[str], oracle: Sequence[str]) -> None:
    if missing := sorted(set(images) - set(oracle)):
        raise InvalidInput(f"image '{missing[0]}' has no oracle mask: give one per image, or no oracle at all")
    if extra := sorted(set(oracle) - set(images)):
        raise InvalidInput(f"oracle mask '{extra[0]}' belongs to no image: name masks as their images")


def _blobs(plan: orchestrator_pb2.RunPlan) -> Iterable[tuple[str, common_pb2.Blob]]:
    """Every blob the plan refers to, with a name for people."""
    for image in plan.images:
        yield f"image '{image.id}'", image.data
    for each in plan.evaluation:
        yield f"evaluation image '{each.id}'", each.image
        yield f"evaluation mask '{each.id}'", each.instances
    for each in plan.oracle:
        yield f"oracle mask '{each.id}'", each.instances
    if plan.HasField("normalization_target"):
        yield "normalization target", plan.normalization_target.data


def _key(run_id: str) -> str:
    return f"runs/{run_id}/run.json"
