"""Structural similarity of frames (Wang et al. 2004): 11 x 11 Gaussian window, sigma 1.5.

H height, W width. Every pixel has a window; frames are continued by reflection (the edge pixel is
not repeated), as in the reference.
"""

import numpy as np
from scipy.ndimage import correlate1d

from hpc.errors import UserError

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03
SMALLEST_FRAME = WINDOW // 2 + 1
"""Reflection needs this many pixels a side."""


_OFFSETS = np.arange(WINDOW) - WINDOW // 2
_WEIGHTS = np.exp(-0.5 * (_OFFSETS / SIGMA) ** 2)
_WEIGHTS /= _WEIGHTS.sum()


class FrameStatistics:
    """Local mean and variance of frames ``[..., H, W]``, to be compared with several others."""

    def __init__(self, frames: np.ndarray) -> None:
        if min(frames.shape[-2:]) < SMALLEST_FRAME:
            raise UserError(
                f"structural similarity needs frames of at least {SMALLEST_FRAME} pixels a side, "
                f"these are {frames.shape[-2]} x {frames.shape[-1]}"
            )
        frames = np.asarray(frames, np.float64)
        self.missing = np.isnan(frames)
        self.frames = np.where(self.missing, 0.0, frames)
        self.mean = local_mean(self.frames)
        self.variance = np.maximum(local_mean(self.frames**2) - self.mean**2, 0.0)


def local_mean(frames: np.ndarray) -> np.ndarray:
    """Return the Gaussian-window means of ``[..., H, W]``, same shape."""
    rows = correlate1d(frames, _WEIGHTS, axis=-1, mode="mirror")
    return correlate1d(rows, _WEIGHTS, axis=-2, mode="mirror")


def structural_similarity(
    prediction: np.ndarray | FrameStatistics,
    target: np.ndarray | FrameStatistics,
    *,
    data_range: float = 1.0,
) -> np.ndarray:
    """Return the similarity of each frame, ``[...]`` for ``[..., H, W]``; 1 is equality.

    Windows that touch a missing pixel (NaN) are left out; a frame without any other is NaN.

    Raises:
        UserError: frames below 6 x 6.
    """
    x = prediction if isinstance(prediction, FrameStatistics) else FrameStatistics(prediction)
    y = target if isinstance(target, FrameStatistics) else FrameStatistics(target)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    products = x.mean * y.mean
    covariance = local_mean(x.frames * y.frames) - products
    similarity = ((2 * products + c1) * (2 * covariance + c2)) / (
        (x.mean**2 + y.mean**2 + c1) * (x.variance + y.variance + c2)
    )
    missing = x.missing | y.missing
    if not missing.any():
        return similarity.mean(axis=(-2, -1))
    usable = local_mean(missing.astype(np.float64)) == 0
    windows = usable.sum(axis=(-2, -1))
    total = np.where(usable, similarity, 0.0).sum(axis=(-2, -1))
    return np.where(windows > 0, total / np.maximum(windows, 1), np.nan)


def reference_structural_similarity(prediction: np.ndarray, target: np.ndarray) -> float:
    """Return the reference's value for all frames ``[..., H, W]`` of a test set together.

    The reference leaves the data range unset, which makes it the larger of the two value ranges of
    what it is given: the value of a frame depends on the others, so use it only to compare with
    the reference.
    """
    data_range = float(max(np.ptp(prediction), np.ptp(target)))
    return float(structural_similarity(prediction, target, data_range=data_range).mean())
