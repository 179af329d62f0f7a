"""The colours of SEVIR's VIL, and of the systems in plots.

VIL is vertically integrated liquid on SEVIR's scale of 0 to 255; frames hold VIL / 255.
"""

from functools import lru_cache

import numpy as np
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap

VIL_LEVELS = (0, 16, 31, 59, 74, 100, 133, 160, 181, 219, 255)
"""Value v has the colour of the bin ``[level, next level)``."""

VIL_COLOURS = (
    (77, 77, 77),
    (40, 190, 40),
    (25, 150, 25),
    (10, 105, 10),
    (10, 75, 10),
    (245, 245, 0),
    (237, 172, 0),
    (240, 110, 0),
    (160, 0, 0),
    (231, 0, 255),
)
"""Red, green and blue of each bin; values below 0 take the first, 255 and above the last."""

MISSING_COLOUR = (0, 0, 0)

SYSTEM_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe & Ito's palette: told apart by colour-blind readers too."""


def vil_rgb(frames: np.ndarray) -> np.ndarray:
    """Return uint8 ``[..., 3]`` colours of frames ``[...]`` in [0, 1]; NaN is black."""
    vil = np.asarray(frames, np.float64) * 255
    # float32(v / 255) * 255 may be a hair below v.
    bins = np.clip(np.digitize(np.round(vil, 4), VIL_LEVELS) - 1, 0, len(VIL_COLOURS) - 1)
    table = np.array([*VIL_COLOURS, MISSING_COLOUR], np.uint8)
    return table[np.where(np.isnan(vil), len(VIL_COLOURS), bins)]


@lru_cache(maxsize=1)
def vil_colour_map() -> tuple[Colormap, BoundaryNorm]:
    """Return matplotlib's colour map and norm of VIL on 0-255, for colour bars."""
    colours = [(red / 255, green / 255, blue / 255) for red, green, blue in VIL_COLOURS]
    colour_map = ListedColormap(colours, name="vil").with_extremes(
        bad=MISSING_COLOUR, under=colours[0], over=colours[-1]
    )
    return colour_map, BoundaryNorm(VIL_LEVELS, colour_map.N)
