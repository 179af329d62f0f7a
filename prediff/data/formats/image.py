"""What every format becomes: one radar image with its quantity, time and grid.

H, W pixels (y, x).
"""

from dataclasses import dataclass

import numpy as np

from hpc.errors import UserError
from prediff.data.quantity import RAIN_RATE, Quantity


@dataclass(frozen=True, kw_only=True)
class MapGrid:
    """Where pixels lie.

    Attributes:
        projection: as PROJ reads it; coordinates are metres, or degrees of a map in degrees.
        x, y: centres of columns (from the west) and rows (from the south), evenly spaced.
    """

    projection: str
    x: np.ndarray
    y: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y), len(self.x)

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a pixel in the projection's units."""
        return (
            float(self.y[-1] - self.y[0]) / max(len(self.y) - 1, 1),
            float(self.x[-1] - self.x[0]) / max(len(self.x) - 1, 1),
        )

    @property
    def key(self) -> tuple[str, tuple[int, int], tuple[float, ...]]:
        """What two images have in common whose pixels lie in the same places."""
        ends = (self.x[0], self.x[-1], self.y[0], self.y[-1])
        return self.projection, self.shape, tuple(round(float(value), 4) for value in ends)


def even_axis(*, first_edge: float, size: int, pixel: float) -> np.ndarray:
    """Return the centres of ``size`` pixels from an edge on."""
    return first_edge + (np.arange(size) + 0.5) * pixel


@dataclass(frozen=True, kw_only=True)
class RadarImage:
    """One image.

    Attributes:
        values: float32 ``[H, W]`` in the quantity's units, row 0 the southern one, NaN missing.
        time: UTC, to the second: nominal time, or the end of what was accumulated.
        accumulated_minutes: over which a rain rate is a mean, None for an instant.
        producer: who made it, as the file says.
    """

    values: np.ndarray
    quantity: Quantity
    time: np.datetime64
    grid: MapGrid
    accumulated_minutes: float | None = None
    producer: str = ""


def hourly_rate(millimetres: np.ndarray, *, minutes: float, place: object) -> np.ndarray:
    """Return mm/h of millimetres that fell in some minutes.

    Raises:
        UserError: no time at all.
    """
    if not minutes > 0:
        raise UserError(f"{place} accumulates over {minutes:g} minutes: expected more than none")
    return millimetres * (60 / minutes)


ACCUMULATED = RAIN_RATE
"""What an accumulation becomes."""
