"""What one prediction is asked for: an object's clicks, its mask so far, and the frame it is seen in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nucleate.interactive.clicks import Click, Mask
from nucleate.interactive.object_mask import ObjectMask
from nucleate.interactive.prediction.contour_selection import Correction
from nucleate.interactive.prediction.result import ExclusionMask, StageTimes
from nucleate.interactive.prediction.working_resolution import Resampling
from nucleate.interactive.prediction.zoom_in import Frame


@dataclass(frozen=True, eq=False)
class ObjectInput:
    """One nucleus: deduplicated clicks and its mask so far in image pixels, its frame, and where refinement starts.

    `frame`, and what `frame_clicks` and `frame_mask` give, are of the pixels that the network sees.
    """

    clicks: list[Click]
    previous: ObjectMask
    excluded: ExclusionMask
    frame: Frame
    delta: NDArray[np.float32] | None
    resampling: Resampling
    corrections: Sequence[Correction] = ()
    times: StageTimes = field(default_factory=StageTimes)

    def frame_clicks(self) -> list[Click]:
        """The clicks in the frame's pixels."""
        return [self.resampling.enlarge_click(click).translated(-self.frame.x, -self.frame.y) for click in self.clicks]

    def frame_mask(self) -> Mask:
        """The mask so far in the frame."""
        frame = self.frame
        return self.resampling.enlarge_object(self.previous).crop(frame.x, frame.y, frame.size, frame.size)
