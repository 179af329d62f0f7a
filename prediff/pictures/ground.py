"""Where a frame lies: which way its rows run, and how long a pixel is.

H, W pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_SHARE_OF_WIDTH = 0.3
_STEPS = (1, 2, 5)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The ground under frames ``[..., H, W]``.

    Attributes:
        rows_northward: row 0 is the southern one, as the networks' frames are.
        kilometres_per_pixel: None where it is not known.
    """

    rows_northward: bool = True
    kilometres_per_pixel: float | None = None

    @classmethod
    def of_axes(cls, *, y: ArrayLike, x: ArrayLike) -> "Ground":
        """Return the ground of axes in metres, such as CF's projection coordinates."""
        northings, eastings = np.asarray(y, np.float64), np.asarray(x, np.float64)
        pixel = abs(eastings[-1] - eastings[0]) / (len(eastings) - 1) if len(eastings) > 1 else 0.0
        return cls(
            rows_northward=bool(northings[-1] >= northings[0]),
            kilometres_per_pixel=pixel / 1000 or None,
        )

    def upright(self, frames: np.ndarray) -> np.ndarray:
        """Return frames ``[..., H, W]`` with the northern row first, as pictures are drawn."""
        return frames[..., ::-1, :] if self.rows_northward else frames

    def scale_bar(self, width: int) -> tuple[float, str] | None:
        """Return length in pixels and label of a bar of about a third of `width` pixels."""
        if self.kilometres_per_pixel is None:
            return None
        longest = _SHARE_OF_WIDTH * width * self.kilometres_per_pixel
        power = 10.0 ** np.floor(np.log10(longest))
        kilometres = max(step * power for step in _STEPS if step * power <= longest * 1.0001)
        return kilometres / self.kilometres_per_pixel, f"{kilometres:g} km"
