"""The motion of the rain in the frames that were seen, by dense optical flow.

T time, H, W pixels. Frames are VIL / 255 in [0, 1].
"""

from itertools import pairwise

import cv2
import numpy as np

RAIN_VIL = 6.0
"""Below this value on the 0-255 scale a pixel is dry to the motion."""
PAIRS = 3
"""Neighbouring frames, the newest, whose motions are averaged."""
SMOOTHING = 6.0
"""Pixels, standard deviation of the weighted average over the neighbourhood."""
RAINY_SHARE = 0.001
"""A frame with fewer rainy pixels shows no motion."""


def motion_field(*, context_THW: np.ndarray) -> np.ndarray:
    """Return the motion ``[2, H, W]`` float32 in pixels per frame: x, then y.

    Farneback's optical flow between the last frames, averaged over them and over the neighbourhood
    with the rain as weight, so that dry places move as the rain around them. Dry or frozen frames,
    or a single one, have no motion: zeros.

    Args:
        context_THW: frames ``[T, H, W]``; NaN is dry.

    Source: Farneback 2003, as OpenCV has it; it was chosen in docs/benchmarks/baselines.md.
    """
    vil = np.nan_to_num(np.asarray(context_THW[-1 - PAIRS :], np.float32)) * np.float32(255)
    vil[vil < RAIN_VIL] = 0.0
    height, width = vil.shape[1:]
    flow = np.zeros((height, width, 2), np.float32)
    weight = np.zeros((height, width, 1), np.float32)
    images = np.clip(vil, 0, 255).astype(np.uint8)
    for before, after in pairwise(images):
        rainy = min((before > 0).mean(), (after > 0).mean())
        if rainy < RAINY_SHARE or np.array_equal(before, after):
            continue
        found = cv2.calcOpticalFlowFarneback(
            before,
            after,
            np.zeros_like(flow),
            pyr_scale=0.5,
            levels=3,
            winsize=9,
            iterations=3,
            poly_n=7,
            poly_sigma=1.5,
            flags=cv2.OPTFLOW_FARNEBACK_GAUSSIAN,
        )
        here = np.sqrt(np.maximum(before, after).astype(np.float32))[..., None] + 1e-3
        flow += found * here
        weight += here
    if not weight.any():
        return np.zeros((2, height, width), np.float32)
    both = cv2.GaussianBlur(np.concatenate([flow, weight], -1), (0, 0), SMOOTHING)
    return np.ascontiguousarray((both[..., :2] / both[..., 2:]).transpose(2, 0, 1))
