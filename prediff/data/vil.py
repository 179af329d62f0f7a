"""Vertically integrated liquid: SEVIR's 8-bit code and its physical value."""

import numpy as np
from numpy.typing import ArrayLike


def vil_to_water(vil: ArrayLike) -> np.ndarray:
    """Return the liquid water in kg/m2 of VIL on 0-255 (Veillette et al. 2020, section 4.1)."""
    vil = np.asarray(vil, np.float64)
    middle = (vil - 2) / 90.66
    heavy = np.exp((vil - 83.9) / 38.9)
    return np.where(vil <= 5, 0.0, np.where(vil <= 18, middle, heavy))


def water_to_vil(water: ArrayLike) -> np.ndarray:
    """Return VIL on 0-255 of liquid water in kg/m2, the inverse of :func:`vil_to_water`.

    Water that is coded by 0 to 5 becomes 0; more than 255 codes becomes 255.
    """
    water = np.asarray(water, np.float64)
    middle = water * 90.66 + 2
    heavy = 83.9 + 38.9 * np.log(np.maximum(water, 1e-9))
    vil = np.where(middle <= 18, middle, np.maximum(heavy, 18))
    return np.where(water <= 0, 0.0, np.minimum(vil, 255))
