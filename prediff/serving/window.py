"""The newest frames, and the times whose whole context is there.

T frames. Times are numpy datetimes in UTC.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

TOLERANCE = np.timedelta64(30, "s")
"""How far a frame's time may be off the cadence."""

Outcome = Literal["new", "late", "duplicate", "too old", "off grid"]


@dataclass(frozen=True)
class Frame:
    """One frame as it came.

    Attributes:
        values: ``(y, x)`` with its grid.
        arrived: seconds since 1970 of its file's last change.
    """

    values: xr.DataArray
    arrived: float


class FrameWindow:
    """Keeps frames of the last hours in the order of time, whichever order they come in.

    Args:
        context: frames of a forecast's context.
        cadence_minutes: between frames.
        kept: frames that are kept, at most; older ones are forgotten, and not taken any more.
    """

    def __init__(self, *, context: int, cadence_minutes: float, kept: int) -> None:
        assert kept >= context
        self.context = context
        self.step = np.timedelta64(round(cadence_minutes * 60), "s")
        self._kept = kept
        self._frames: dict[np.datetime64, Frame] = {}
        self._anchor: np.datetime64 | None = None
        self._off_grid = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def newest(self) -> np.datetime64 | None:
        return max(self._frames, default=None)

    def add(self, time: np.datetime64, frame: Frame) -> Outcome:
        """Take in a frame; the first one of a time counts.

        Times are rounded to the grid of the cadence that the first frame began; a frame further
        than half a minute off it is not taken. As many of those in a row as a context has frames
        begin a new grid.
        """
        slot = self._slot(time)
        if slot is None:
            return "off grid"
        newest = self.newest
        if slot in self._frames:
            return "duplicate"
        if newest is not None and newest - slot >= self._kept * self.step:
            return "too old"
        self._frames[slot] = frame
        latest = slot if newest is None else max(slot, newest)
        for old in [t for t in self._frames if latest - t >= self._kept * self.step]:
            del self._frames[old]
        return "new" if newest is None or slot > newest else "late"

    def _slot(self, time: np.datetime64) -> np.datetime64 | None:
        time = time.astype("datetime64[s]")
        if self._anchor is None or self._off_grid >= self.context:
            self._anchor, self._off_grid = time, 0
            self._frames.clear()
        steps = np.rint((time - self._anchor) / self.step).astype(np.int64)
        slot = self._anchor + steps * self.step
        if abs(time - slot) > TOLERANCE:
            self._off_grid += 1
            return None
        self._off_grid = 0
        return slot

    def complete(self) -> list[np.datetime64]:
        """Return the times whose whole context is there, the newest first."""
        return [time for time in sorted(self._frames, reverse=True) if not self.missing(time)]

    def missing(self, time: np.datetime64) -> list[np.datetime64]:
        """Return the times of the context's frames that are not there, the oldest first."""
        wanted = [time - number * self.step for number in reversed(range(self.context))]
        return [each for each in wanted if each not in self._frames]

    def context_of(self, time: np.datetime64) -> tuple[xr.DataArray, float]:
        """Return the context ``(time, y, x)`` that ends at a time, and when its last frame came."""
        times = [time - number * self.step for number in reversed(range(self.context))]
        chosen = [self._frames[each] for each in times]
        frames = xr.concat(
            [frame.values for frame in chosen],
            dim="time",
            coords="minimal",
            compat="override",
            join="override",
        )
        frames.encoding = chosen[-1].values.encoding
        return frames, max(frame.arrived for frame in chosen)
