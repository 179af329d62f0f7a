"""Vertically integrated liquid: SEVIR's 8-bit code and its physical value."""

import numpy as np


def vil_from_code(code: np.ndarray) -> np.ndarray:
    """Return VIL in kg m-2 for SEVIR's code (0-255), float32; NaN stays NaN.

    Source: SEVIR's data description (Veillette et al., NeurIPS 2020, appendix): 0 up to code 5,
    linear up to 18, exponential above.
    """
    code = np.asarray(code, np.float32)
    linear = (code - 2) / 90.66
    exponential = np.exp((code - 83.9) / 38.9)
    value = np.where(code <= 5, 0, np.where(code <= 18, linear, exponential))
    return np.where(np.isnan(code), np.nan, value).astype(np.float32)
