"""Motion and extrapolation: what moves is followed, what stands still or is dry stays."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from prediff.data.extrapolation import UNKNOWN, advect, extrapolate
from prediff.data.motion import motion_field


def rain(side=64, seed=3):
    """A smooth field of blobs in [0, 1], dry in half of its pixels."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 3)
    return np.clip(noise / noise.max(), 0, 1).astype(np.float32)


def moving(by, frames=7):
    """Rain that moves by (y, x) pixels per frame."""
    return np.stack([shift(rain(), (k * by[0], k * by[1]), order=1) for k in range(frames)])


@pytest.mark.parametrize("by", [(0.0, 2.0), (1.5, -1.0)])
def test_motion_of_moving_rain_is_found(by):
    frames = np.stack([shift(rain(96), (k * by[0], k * by[1]), order=1) for k in range(7)])
    found = motion_field(context_THW=frames[:, 16:-16, 16:-16])
    inside = found[:, 12:-12, 12:-12].mean(axis=(1, 2))
    np.testing.assert_allclose(inside, [by[1], by[0]], atol=0.35)


def test_dry_and_frozen_frames_have_no_motion():
    dry = np.zeros((7, 64, 64), np.float32)
    frozen = np.repeat(rain()[None], 7, axis=0)
    drizzle = moving((0, 2)) * np.float32(4 / 255)
    for frames in (dry, frozen, drizzle, dry[:1]):
        np.testing.assert_array_equal(motion_field(context_THW=frames), 0)
    np.testing.assert_array_equal(
        extrapolate(context_THW=frozen, forecast_frames=3), np.repeat(frozen[:1], 3, axis=0)
    )


def test_missing_pixels_are_dry_to_the_motion():
    frames = moving((0, 2))
    holes = frames.copy()
    holes[:, :8] = np.nan
    dry = frames.copy()
    dry[:, :8] = 0
    np.testing.assert_array_equal(motion_field(context_THW=holes), motion_field(context_THW=dry))
    assert np.isfinite(extrapolate(context_THW=holes, forecast_frames=2)).all()


def test_extrapolation_marks_what_came_from_outside():
    motion = np.stack([np.full((64, 64), 3.0), np.zeros((64, 64))]).astype(np.float32)
    moved = advect(frame=rain(), motion=motion, forecast_frames=2)
    for step, frame in enumerate(moved, 1):
        assert (frame[:, : 3 * step] == UNKNOWN).all()
        np.testing.assert_allclose(frame[:, 3 * step :], rain()[:, : -3 * step], atol=1e-6)
