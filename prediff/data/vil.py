"""Vertically integrated liquid: SEVIR's 8-bit code and its physical value."""

import numpy as np
from numpy.typing import ArrayLike


def vil_to_water(vil: ArrayLike) -> np.ndarray:
    """Return the liquid water in kg/m2 of VIL on 0-255 (Veillette et al. 2020, section 4.1)."""
    vil = np.asarray(vil, np.float64)
    middle = (vil - 2) / 90.66
    heavy = np.exp((vil - 83.9) / 38.9)
    return np.where(vil <= 5, 0.0, np.where(vil <= 18, middle, heavy))
