"""Build hook: generate the gRPC stubs before packaging, and before an editable install."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class GenerateStubs(BuildHookInterface):  # type: ignore[type-arg]
    """Run protos/generate.py and ship what it wrote."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        protos = Path(self.root) / "protos"
        runpy.run_path(str(protos / "generate.py"))["generate"](protos)
        build_data["artifacts"] += ["protos/nucleate/v1/*_pb2*"]
