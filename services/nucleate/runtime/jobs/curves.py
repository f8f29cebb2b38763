"""Live curves: the figures that jobs report, as TensorBoard event files, one folder per job."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleate.errors import Precondition

FLUSH_SECONDS = 5


class CurveWriter:
    """Writes below a folder, which `tensorboard --logdir` shows while jobs run. Safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        """Raise `Precondition` where the package that writes such files is not installed."""
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise Precondition("NUCLEATE_CURVES is set, but tensorboardX is not installed: install it or unset it") from None
        self._folder, self._writer = folder, SummaryWriter
        self._open: dict[str, Any] = {}
        self._lock = threading.Lock()

    def add(self, job_id: str, step: int, values: Mapping[str, float]) -> None:
        """One point of every figure. A job that goes on from a checkpoint takes back what it had written beyond it."""
        with self._lock:
            if values and job_id not in self._open:
                # Names tell the second only: without the step a quick restart would overwrite what there is.
                self._open[job_id] = self._writer(
                    str(self._folder / job_id), purge_step=step, flush_secs=FLUSH_SECONDS, filename_suffix=f".{step:09d}"
                )
            for name, value in values.items():
                self._open[job_id].add_scalar(name, value, step)

    def close(self, job_id: str) -> None:
        """Nothing more will come of this job here."""
        with self._lock:
            writer = self._open.pop(job_id, None)
        if writer is not None:
            writer.close()
