"""One forecast beside its observation, checked once, with what several scores share.

M member, T lead time, H height, W width. Values are code / 255, so [0, 1]; NaN is a missing pixel.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpc.errors import UserError
from prediff.data.quantity import VIL, Quantity

VIL_SCALE = np.float32(255)
"""Thresholds of VIL are given on the 0-255 scale of SEVIR's code."""


@dataclass(frozen=True)
class ScoredCase:
    """A forecast ``[M, T, H, W]`` and what was observed ``[T, H, W]``, float32.

    Args:
        quantity: whose codes they are; thresholds are in its units (of VIL: codes).

    Raises:
        UserError: shapes that do not belong together, infinities, or values on another scale.
    """

    ensemble: np.ndarray
    observation: np.ndarray
    quantity: Quantity = VIL

    def __post_init__(self) -> None:
        object.__setattr__(self, "ensemble", np.asarray(self.ensemble, np.float32))
        object.__setattr__(self, "observation", np.asarray(self.observation, np.float32))
        if self.ensemble.ndim != 4 or self.observation.ndim != 3:
            raise UserError(
                f"a case is a forecast [member, time, height, width] and an observation [time, "
                f"height, width]; got shapes {self.ensemble.shape} and {self.observation.shape}"
            )
        if self.ensemble.shape[1:] != self.observation.shape or 0 in self.ensemble.shape:
            raise UserError(
                f"forecast {self.ensemble.shape} and observation {self.observation.shape} "
                "do not have the same times, height and width"
            )
        for name, values in (("forecast", self.ensemble), ("observation", self.observation)):
            if np.isinf(values).any():
                raise UserError(f"the {name} holds infinite values; mark missing pixels with NaN")
        highest = np.nanmax(self.observation, initial=0)
        if highest > 1.001:
            raise UserError(
                f"the observation reaches {highest:g}; scores take code / 255, values in [0, 1]"
            )

    @property
    def members(self) -> int:
        return self.ensemble.shape[0]

    @cached_property
    def mean(self) -> np.ndarray:
        """The ensemble mean ``[T, H, W]``; NaN where any member is missing."""
        if self.members == 1:
            return self.ensemble[0]
        return self.ensemble.mean(axis=0, dtype=np.float64).astype(np.float32)

    @cached_property
    def valid(self) -> np.ndarray:
        """``[T, H, W]`` bool: observed, and present in every member."""
        return np.isfinite(self.observation) & np.isfinite(self.mean)

    @cached_property
    def complete(self) -> bool:
        """True if no pixel is missing anywhere."""
        return bool(self.valid.all())

    @cached_property
    def ensemble_scored(self) -> np.ndarray:
        """The ensemble in the units of thresholds."""
        return self._scored(self.ensemble)

    @cached_property
    def mean_scored(self) -> np.ndarray:
        return self._scored(self.mean)

    @cached_property
    def observation_scored(self) -> np.ndarray:
        return self._scored(self.observation)

    def _scored(self, unit: np.ndarray) -> np.ndarray:
        code = unit * VIL_SCALE
        if self.quantity.scored_in_code:
            return code
        # float32(code / 255) * 255 may be a hair below the code of a threshold.
        return self.quantity.decode(np.round(code.astype(np.float64), 4))


def blocks(values: np.ndarray, size: int) -> np.ndarray:
    """View ``[..., H, W]`` as ``[..., H//size, size, W//size, size]``; a rest is cut off.

    Raises:
        UserError: the frame is smaller than one block.
    """
    *leading, height, width = values.shape
    rows, columns = height // size, width // size
    if rows == 0 or columns == 0:
        raise UserError(
            f"pooling by {size} needs frames of at least {size} x {size} pixels, these are "
            f"{height} x {width}; leave that pooling out"
        )
    return values[..., : rows * size, : columns * size].reshape(*leading, rows, size, columns, size)


def max_pool(values: np.ndarray, size: int) -> np.ndarray:
    """Return the maximum of each ``size x size`` block of ``[..., H, W]``; NaN if any is NaN."""
    if size == 1:
        return values
    return blocks(values, size).max(axis=(-3, -1))


def mean_pool(values: np.ndarray, size: int) -> np.ndarray:
    """Return the mean of each ``size x size`` block of ``[..., H, W]``; NaN if any is NaN."""
    if size == 1:
        return values
    return blocks(values, size).mean(axis=(-3, -1))
