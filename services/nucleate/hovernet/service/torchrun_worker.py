"""One of the processes of a training: `torchrun … -m nucleate.hovernet.service.torchrun_worker FOLDER DEVICE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from nucleate.errors import NucleateError
from nucleate.hovernet.service import messages, torchrun
from nucleate.learning.distributed import World, initialised_world
from nucleate.runtime.blobs import Blobs
from nucleate.runtime.settings import StoreSettings
from nucleate.runtime.store import open_store
from nucleate.v1 import hovernet_pb2 as pb


class Reporter:
    """What the training of one process reports to: that of the first tells the service, the others keep quiet."""

    def __init__(self, folder: Path, world: World) -> None:
        self._folder = folder
        self._speaks = world.rank == 0

    def progress(self, step: int, total: int, stage: str = "", **values: float) -> None:
        """One line per step."""
        self.say("progress", step, total, stage, values)

    def checkpoint(self, data: bytes) -> None:
        """The file first, then the word."""
        if self._speaks:
            partial = self._folder / "partial"
            partial.write_bytes(data)
            partial.replace(self._folder / torchrun.CHECKPOINT)
        self.say("checkpoint")

    def restored(self) -> bytes | None:
        """What an interrupted attempt left; the same for every process."""
        path = self._folder / torchrun.RESTORED
        return path.read_bytes() if path.exists() else None

    def say(self, *words: object) -> None:
        """A line of JSON to the service."""
        if self._speaks:
            print(json.dumps(words), flush=True)  # noqa: T201 - the protocol of these processes


def main(folder: Path, device: str) -> int:
    """Train; the first process stores the model and writes the result."""
    settings = StoreSettings()
    blobs = Blobs(open_store(settings.store, settings)).fenced()
    request = pb.HoverNetServiceTrainRequest.FromString((folder / torchrun.REQUEST).read_bytes())
    with initialised_world(device) as (world, place):
        reporter = Reporter(folder, world)
        try:
            result = messages.trained(request, blobs, reporter, place, world)
        except NucleateError as error:
            reporter.say("error", type(error).__name__, str(error))
            return 1
        if world.rank == 0:
            (folder / torchrun.RESULT).write_bytes(result.SerializeToString())
        torch.distributed.barrier()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
