"""A training in several processes of torchrun, for the service: what they report comes back as if it had run here.

The processes read the request from a folder and the data from the store. The first of them says on its standard output, a JSON
list per line, what a training tells its observer; checkpoints and the result are files in the folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch

from nucleate.errors import NucleateError
from nucleate.runtime.error_table import error_named
from nucleate.runtime.jobs import Job
from nucleate.runtime.settings import PREFIX, ServiceSettings
from nucleate.v1 import hovernet_pb2 as pb

REQUEST, RESTORED, CHECKPOINT, RESULT = "request", "restored", "checkpoint", "result"
_STOP_SECONDS = 10.0
_STORE = ("store", "s3_endpoint", "s3_access_key", "s3_secret_key", "s3_secure", "s3_region")


def processes(setting: int, device: str) -> int:
    """How many a training takes: the setting, or one per GPU."""
    return setting or (torch.cuda.device_count() if device == "cuda" else 1)


def train(
    request: pb.HoverNetServiceTrainRequest, settings: ServiceSettings, device: str, count: int, job: Job
) -> pb.HoverNetServiceTrainResult:
    """Train in `count` processes of this machine.

    Raises:
        NucleateError: whatever the training raises.
        RuntimeError: a process died; its last words are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="nucleate-train-") as name:
        folder = Path(name)
        (folder / REQUEST).write_bytes(request.SerializeToString())
        if (saved := job.restored()) is not None:
            (folder / RESTORED).write_bytes(saved)
        with (folder / "stderr").open("w+b") as errors, _started(folder, settings, device, count, errors) as process:
            assert process.stdout is not None
            for line in process.stdout:
                _relay_report(json.loads(line), folder, job)
            if process.wait() or not (folder / RESULT).exists():
                raise RuntimeError(f"a training process died: {_stderr_tail(errors)}")
        return pb.HoverNetServiceTrainResult.FromString((folder / RESULT).read_bytes())


@contextmanager
def _started(
    folder: Path, settings: ServiceSettings, device: str, count: int, errors: IO[bytes]
) -> Iterator[subprocess.Popen[str]]:
    """Torchrun on this machine, stopped with all its processes when the block ends."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "--max-restarts=0"]
    command += ["-m", "nucleate.hovernet.service.torchrun_worker", str(folder), device]
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, env=_environment(settings, count), stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment(settings: ServiceSettings, count: int) -> dict[str, str]:
    """This process's, with the store of the settings, which need not come from it."""
    values: dict[str, Any] = {name: getattr(settings, name) for name in _STORE}
    values["s3_secret_key"] = settings.s3_secret_key.get_secret_value()
    cores = settings.threads or len(os.sched_getaffinity(0))
    own = {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}
    return os.environ | own | {"OMP_NUM_THREADS": str(max(1, cores // count))}


def _relay_report(said: list[Any], folder: Path, job: Job) -> None:
    """Pass one report on."""
    match said:
        case ["progress", step, total, stage, values]:
            job.progress(step, total, stage, **values)
        case ["checkpoint"]:
            job.checkpoint((folder / CHECKPOINT).read_bytes())
        case ["error", name, message]:
            raise error_named(name, message) or NucleateError(message)


def _stderr_tail(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read()[-2000:].decode(errors="replace")
