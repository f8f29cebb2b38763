"""Generate the gRPC stubs beside their .proto files: the project's only code generation.

Run by the build (hatch_build.py) and by `make proto`; the stubs are ignored by git and shipped in the wheel.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def generate(root: Path = ROOT) -> None:
    """Write `*_pb2.py`, `*_pb2.pyi` and `*_pb2_grpc.py` for every .proto under `root`; raise on a protoc error."""
    protos = sorted(str(path.relative_to(root)) for path in root.glob("nucleate/v1/*.proto"))
    well_known = files("grpc_tools") / "_proto"
    outputs = [f"--{kind}={root}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    status = protoc.main(["protoc", f"-I{root}", f"-I{well_known}", *outputs, *protos])
    if status != 0:
        raise RuntimeError(f"protoc failed with status {status} on {root}")


if __name__ == "__main__":
    generate()
    sys.exit(0)
