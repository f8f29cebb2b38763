"""Diagnosis of the installation."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nucleate.client.local.health import serving
from nucleate.client.local.installation import SERVICES, default_home, endpoint_variable
from nucleate.client.local.process_registry import load_registry
from nucleate.errors import NucleateError
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.store import open_store

_SUPPORTED_PYTHON = ((3, 11), (3, 13))
_SECRET_WORDS = ("KEY", "SECRET", "PASSWORD", "TOKEN")
_PROBE = """
import torch
print("torch", torch.__version__, "CUDA", torch.version.cuda or "none", "available" if torch.cuda.is_available() else "no GPU")
import os
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime
print("onnxruntime", onnxruntime.__version__, *onnxruntime.get_available_providers())
"""


@dataclass(frozen=True)
class CheckResult:
    """One check: `state` is "ok", "off" (not needed now) or "bad"."""

    check: str
    state: str
    found: str


def diagnose() -> list[CheckResult]:
    """Run every check; none raises."""
    return [_check_python(), *_check_pinned_packages(), *_check_inference_engines(), *_check_services(), _check_store()]


def settings_in_force() -> dict[str, object]:
    """Return what is configured, secrets masked."""
    home = default_home()
    registry = load_registry(home)
    endpoints = {name: os.environ.get(endpoint_variable(name)) or _local_endpoint(name) or "not running" for name in SERVICES}
    environment = {name: _masked(name, value) for name, value in sorted(os.environ.items()) if name.startswith("NUCLEATE_")}
    return {
        "version": version("nucleate"),
        "home": str(home),
        "store": registry.store if registry else os.environ.get("NUCLEATE_STORE", (home / "store").as_uri()),
        **{f"endpoint {name}": endpoint for name, endpoint in endpoints.items()},
        **environment,
    }


def _masked(name: str, value: str) -> str:
    return "***" if value and any(word in name for word in _SECRET_WORDS) else value


def _local_endpoint(service: str) -> str:
    registry = load_registry(default_home())
    return registry.endpoints[service] if registry and service in registry.running else ""


def _has_crashed(service: str) -> bool:
    registry = load_registry(default_home())
    record = registry.services.get(service) if registry else None
    return bool(record and record.pid and not record.alive)


def _check_python() -> CheckResult:
    found = ".".join(map(str, sys.version_info[:3]))
    fits = _SUPPORTED_PYTHON[0] <= sys.version_info[:2] <= _SUPPORTED_PYTHON[1]
    return CheckResult("python", "ok" if fits else "bad", f"{found} at {sys.executable}")


def _check_pinned_packages() -> Iterator[CheckResult]:
    """Compare the packages of the base install that are pinned exactly, and say which of the others are there."""
    for requirement in requires("nucleate") or ():
        name, pinned, wanted = requirement.partition(";")[0].partition("==")
        if not pinned or "extra" in requirement or "*" in wanted:
            continue
        try:
            found = version(name.strip())
        except PackageNotFoundError:
            yield CheckResult(name, "bad", f"missing; {wanted.strip()} wanted")
            continue
        fits = found == wanted.strip()
        yield CheckResult(name.strip(), "ok" if fits else "bad", found if fits else f"{found}; {wanted.strip()} wanted")


def _check_inference_engines() -> Iterator[CheckResult]:
    if not all(importlib.util.find_spec(name) for name in ("torch", "onnxruntime")):
        yield CheckResult(
            "torch, onnxruntime", "off", "client only; install nucleate[cpu] or nucleate[gpu] to run services here"
        )
        return
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(both) > 1:
        yield CheckResult("onnxruntime", "bad", "both onnxruntime and onnxruntime-gpu are installed: uninstall one")
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)  # noqa: S603
    for line in done.stdout.splitlines():
        name, _, found = line.partition(" ")
        yield CheckResult(name, "ok", found)
    if done.returncode:
        yield CheckResult("torch, onnxruntime", "bad", (done.stderr.strip().splitlines() or ["cannot be imported"])[-1])


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _check_services() -> Iterator[CheckResult]:
    for name in SERVICES:
        endpoint = os.environ.get(endpoint_variable(name)) or _local_endpoint(name)
        if not endpoint and _has_crashed(name):
            yield CheckResult(name, "bad", "has ended by itself; `nucleate up` starts it again")
        elif not endpoint:
            yield CheckResult(name, "off", "not running; `nucleate up` starts it")
        else:
            answers = serving(endpoint, timeout_s=3.0)
            yield CheckResult(name, "ok" if answers else "bad", f"{endpoint} {'serving' if answers else 'does not answer'}")


def _check_store() -> CheckResult:
    url = str(settings_in_force()["store"])
    if url.startswith("file://") and not Path(unquote(urlsplit(url).path)).exists():
        return CheckResult("store", "off", f"{url} is not there yet; `nucleate up` makes it")
    try:
        blobs = Blobs(open_store(url))
        probe = f"nucleate doctor {uuid.uuid4().hex}".encode()
        blob = blobs.put(probe, "text/plain")
        same = blobs.get(blob) == probe
        blobs.store.delete(blob.uri)
    except NucleateError as error:
        return CheckResult("store", "bad", str(error))
    return CheckResult("store", "ok" if same else "bad", f"{url} {'keeps what it is given' if same else 'returns other bytes'}")
