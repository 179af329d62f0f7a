"""Frames moved on along their motion: the extrapolation, as baseline and as a condition.

T time, H, W pixels. Frames are VIL / 255 in [0, 1].
"""

import cv2
import numpy as np

from prediff.data.motion import motion_field

UNKNOWN = -1.0
"""Marks pixels that came from outside the frame."""


def extrapolate(*, context_THW: np.ndarray, forecast_frames: int) -> np.ndarray:
    """Return ``[T, H, W]`` float32: the last frame moved along `motion_field`.

    Backward semi-Lagrangian with a midpoint rule; the last frame is interpolated once for each lead
    time, so the scheme does not smear it. Pixels that came from outside are `UNKNOWN`.

    Args:
        context_THW: frames ``[T, H, W]``; NaN is dry.
        forecast_frames: T of the result.

    Source: Germann & Zawadzki 2002.
    """
    last = np.nan_to_num(np.asarray(context_THW[-1], np.float32))
    return advect(
        frame=last, motion=motion_field(context_THW=context_THW), forecast_frames=forecast_frames
    )


def advect(*, frame: np.ndarray, motion: np.ndarray, forecast_frames: int) -> np.ndarray:
    """Return ``[T, H, W]`` float32: a frame ``[H, W]`` moved by 1, 2, ... steps of a motion.

    Args:
        motion: ``[2, H, W]`` pixels per step, x then y.
    """
    height, width = frame.shape
    flow = np.ascontiguousarray(motion.transpose(1, 2, 0), np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    grid = np.stack([x, y], -1)
    place = grid.copy()
    frame = np.ascontiguousarray(frame, np.float32)
    out = np.empty((forecast_frames, height, width), np.float32)
    edge = np.array([width - 0.5, height - 0.5], np.float32)
    for moved in out:
        middle = place - 0.5 * _at(flow, place)
        place = place - _at(flow, middle)
        moved[...] = _at(frame, place)
        moved[((place < -0.5) | (place > edge)).any(-1)] = UNKNOWN
    return out


def _at(field: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return a field at places ``[H, W, 2]``, bilinear, its edge going on outside."""
    x, y = np.ascontiguousarray(place[..., 0]), np.ascontiguousarray(place[..., 1])
    return np.asarray(cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
