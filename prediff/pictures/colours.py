"""The colours of radar frames, SEVIR's ten bins, and of the systems in plots.

Frames hold code / 255, with the code of the run's quantity (`prediff.data.quantity`): of VIL it is
SEVIR's, and the bins are the published ones.
"""

from functools import lru_cache

import numpy as np
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap

from prediff.data.quantity import VIL, Quantity

VIL_LEVELS = VIL.levels
"""Value v has the colour of the bin ``[level, next level)``."""

RADAR_COLOURS = (
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

MISSING_COLOUR = (214, 210, 235)
"""Pale, so that nobody takes it for the dark grey of a dry pixel."""

SYSTEM_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe & Ito's palette: told apart by colour-blind readers too."""


def level_codes(quantity: Quantity = VIL) -> np.ndarray:
    """Return the codes at which the colours change."""
    return np.array([quantity.threshold_code(level) for level in quantity.levels])


def level_labels(quantity: Quantity = VIL) -> list[str]:
    """Return the levels as a legend shows them, in the quantity's units."""
    if not quantity.scored_in_code:
        return [f"{level:g}" for level in quantity.levels]
    values = quantity.decode(np.array(quantity.levels))
    return [
        f"{level:g}  ({value:.2g})" for level, value in zip(quantity.levels, values, strict=True)
    ]


def legend_title(quantity: Quantity = VIL) -> str:
    """Return what the legend's numbers are."""
    if quantity.scored_in_code:
        return f"{quantity.name.upper()}, 0-255 ({quantity.short_units})"
    return f"{quantity.title}, {quantity.short_units}"


def radar_rgb(frames: np.ndarray, *, quantity: Quantity = VIL) -> np.ndarray:
    """Return uint8 ``[..., 3]`` colours of frames ``[...]`` in [0, 1]; NaN is missing."""
    code = np.asarray(frames, np.float64) * 255
    # float32(v / 255) * 255 may be a hair below v.
    last = len(RADAR_COLOURS) - 1
    bins = np.clip(np.digitize(np.round(code, 4), level_codes(quantity).round(4)) - 1, 0, last)
    table = np.array([*RADAR_COLOURS, MISSING_COLOUR], np.uint8)
    return table[np.where(np.isnan(code), len(RADAR_COLOURS), bins)]


@lru_cache(maxsize=4)
def radar_colour_map(quantity: Quantity = VIL) -> tuple[Colormap, BoundaryNorm]:
    """Return matplotlib's colour map and norm of codes 0-255, for colour bars."""
    colours = [_unit(colour) for colour in RADAR_COLOURS]
    colour_map = ListedColormap(colours, name=quantity.name).with_extremes(
        bad=_unit(MISSING_COLOUR), under=colours[0], over=colours[-1]
    )
    return colour_map, BoundaryNorm(level_codes(quantity).tolist(), colour_map.N)


def _unit(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
