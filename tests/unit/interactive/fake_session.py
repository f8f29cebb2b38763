"""Sessions without a network: every click gives a disk, cut to where the object may go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from nucleate import errors
from nucleate.interactive.clicks import Click
from nucleate.interactive.networks.network_input import PLANES
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.result import ExclusionMask, Prediction, StageTimes
from nucleate.interactive.prediction.zoom_in import Frame
from nucleate.interactive.sessions.backpressure import ConcurrencyLimiter
from nucleate.interactive.sessions.calls import Sessions
from nucleate.interactive.sessions.event_log import EventStore
from nucleate.interactive.sessions.objects import Box
from nucleate.interactive.sessions.session import Limits
from nucleate.interactive.sessions.session_cache import CacheLimits, SessionCache
from nucleate.interactive.sessions.session_input import PreparedImage, SessionInput
from nucleate.interactive.sessions.state import SessionState

WINDOW = Box(8, 4, 48, 40)
RADIUS = 5


@dataclass
class DiskPredictor:
    """Adds or takes away a disk of 5 px; the probability falls from 1 at the click to 0 at 11 px."""

    seconds: float = 0.0
    calls: int = 0
    nbytes: int = 60 * 72 * PLANES
    fault: Exception | None = None
    clicks: list[Click] = field(default_factory=list)
    previous_masks: list[ObjectMask] = field(default_factory=list)

    def predict(
        self,
        clicks: Sequence[Click],
        previous_masks: Sequence[ObjectMask],
        delta: np.ndarray | None,
        excluded: ExclusionMask,
        cancelled: Callable[[], bool] | None = None,
        *,
        frame: Frame | None = None,
    ) -> Prediction:
        self.calls += 1
        self.clicks, self.previous_masks = list(clicks), list(previous_masks)
        previous = self.previous_masks[-1] if self.previous_masks else None
        if self.fault:
            raise self.fault
        ends = time.monotonic() + self.seconds
        while time.monotonic() < ends:
            if cancelled and cancelled():
                raise errors.Cancelled("the work was cancelled")
            time.sleep(0.002)
        last = clicks[-1]
        if not previous and not last.positive:
            raise errors.InvalidInput("the first click of an object must be positive: click on the nucleus first")
        frame = Frame(last.x - 16, last.y - 16, 32)
        axis = np.arange(-16, 16)
        distance_HW = np.hypot(axis[:, None], axis[None, :]).astype(np.float32)
        whole_HW = (previous or ObjectMask.empty()).crop(0, 0, 96, 96)
        view = np.zeros((128, 128), bool)
        view[16:112, 16:112] = whole_HW
        disk_HW = view[frame.y + 16 : frame.y + 48, frame.x + 16 : frame.x + 48]
        disk_HW[distance_HW <= RADIUS] = last.positive
        mask_HW = view[16:112, 16:112] & ~excluded(0, 0, 96, 96)
        mask = ObjectMask.from_array(mask_HW)
        honoured = tuple(mask.contains(c.x, c.y) == c.positive for c in clicks)
        probability_HW = np.clip(1 - distance_HW / 11, 0, 1)
        delta = np.full(3, len(clicks), np.float32)
        spent = StageTimes(1.0, 2.0, 3.0)
        return Prediction(mask, 0.5, all(honoured), honoured, honoured, 2, delta, frame, (frame, probability_HW), spent)

    def predict_many(self, points: Sequence[Click], excluded: ExclusionMask) -> list[Prediction]:
        return [self.predict([point], (), None, excluded) for point in points]


class FakeOpener:
    """The request is JSON; its proposals are written as boxes."""

    def __init__(self, predictor: DiskPredictor) -> None:
        self.predictor, self.opened = predictor, 0

    def resolve(self, request: str) -> str:
        return json.dumps(json.loads(request) | {"resolved": True})

    def open(self, resolved: str) -> tuple[SessionInput, SessionState]:
        self.opened += 1
        boxes = json.loads(resolved).get("proposals", [])
        masks = [ObjectMask(x, y, np.ones((height, width), bool)) for x, y, width, height in boxes]
        prepared = PreparedImage(np.zeros((60, 72, 3), np.uint8), self.predictor)
        return SessionInput(prepared, WINDOW), SessionState(WINDOW, masks)

    def publish(self, pixels_HW3: np.ndarray, instances_HW: np.ndarray, request: str) -> str:
        return f"{request} {int(instances_HW.max())}"


def fake_sessions(
    store: EventStore,
    predictor: DiskPredictor | None = None,
    *,
    limits: Limits | None = None,
    cache_limits: CacheLimits | None = None,
    limiter: ConcurrencyLimiter | None = None,
) -> Sessions:
    opener = FakeOpener(predictor or DiskPredictor())
    return Sessions(
        store, opener, limiter or ConcurrencyLimiter(2, 64), SessionCache(cache_limits or CacheLimits()), limits or Limits()
    )
