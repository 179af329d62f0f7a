"""Errors and structural similarity against the reference and against the definition."""

import json
from pathlib import Path

import numpy as np
import pytest

from hpc.errors import UserError
from prediff.verification.case import ScoredCase
from prediff.verification.continuous import ContinuousFamily
from prediff.verification.structural_similarity import (
    reference_structural_similarity,
    structural_similarity,
)

DATA = Path(__file__).parents[2] / "data" / "verification"


@pytest.fixture(scope="module")
def reference():
    expected = json.loads((DATA / "reference_metrics.json").read_text())["metrics"]
    with np.load(DATA / "reference_metrics.npz") as arrays:
        target = (arrays["target"][..., 0] / np.float32(255)).astype(np.float32)
        prediction = (arrays["pred_x1024"][..., 0] / np.float32(1024)).astype(np.float32)
    return prediction, target, expected


def scores_of(ensemble, observation, of):
    family = ContinuousFamily()
    scores = family.scores(family.case_sums(ScoredCase(ensemble, observation)))
    return {score.name: score for score in scores if score.of == of}


def test_errors_and_similarity_equal_the_reference(reference):
    prediction, target, expected = reference
    frames = prediction.reshape(1, -1, 64, 64), target.reshape(-1, 64, 64)
    scores = scores_of(*frames, "members")
    assert scores["mean_squared_error"].overall == pytest.approx(expected["mse"], rel=1e-6)
    assert scores["mean_absolute_error"].overall == pytest.approx(expected["mae"], rel=1e-6)
    similarity = float(scores["structural_similarity"].overall)
    assert similarity == pytest.approx(expected["ssim_data_range_1"], abs=1e-6)
    unset = reference_structural_similarity(prediction, target)
    assert unset == pytest.approx(expected["ssim_default_torchmetrics_1.9.0"], abs=1e-6)


def test_similarity_equals_the_definition_pixel_by_pixel():
    generator = np.random.RandomState(0)
    x, y = generator.rand(2, 12, 14)
    offsets = np.arange(-5, 6)
    kernel = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    padded = [np.pad(frame, 5, mode="reflect") for frame in (x, y)]
    total = 0.0
    for row in range(12):
        for column in range(14):
            a, b = (frame[row : row + 11, column : column + 11] for frame in padded)
            mean_a, mean_b = (kernel * a).sum(), (kernel * b).sum()
            var_a = (kernel * a * a).sum() - mean_a**2
            var_b = (kernel * b * b).sum() - mean_b**2
            both = (kernel * a * b).sum() - mean_a * mean_b
            total += ((2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)) / (
                (mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)
            )
    assert structural_similarity(x, y) == pytest.approx(total / (12 * 14), rel=1e-10)


def test_similarity_leaves_out_windows_with_missing_pixels():
    generator = np.random.RandomState(1)
    x, y = generator.rand(2, 40, 40)
    whole = structural_similarity(x[:, :20], y[:, :20])
    spoiled = y.copy()
    spoiled[:, 20:] = np.nan
    # Windows of the part that is not missing, in the whole frame and in a frame of that part alone:
    # they differ at the edge, where the latter mirrors its pixels, so cut that off as well.
    found = structural_similarity(x, spoiled)
    other = x.copy()
    other[:, 20:] = 1 - other[:, 20:]
    assert structural_similarity(other, spoiled) == found
    assert abs(found - whole) < 0.05
    assert np.isnan(structural_similarity(x, np.full_like(y, np.nan)))


def test_equal_frames_are_perfectly_similar_even_without_rain():
    for frames in (np.zeros((2, 16, 16)), np.random.RandomState(2).rand(2, 16, 16)):
        np.testing.assert_allclose(structural_similarity(frames, frames), 1.0, rtol=1e-12)


def test_similarity_of_tiny_frames_is_refused_alone_and_undefined_in_a_table():
    tiny = np.zeros((1, 4, 4), np.float32)
    with pytest.raises(UserError, match="at least 6 pixels a side"):
        structural_similarity(tiny, tiny)
    scores = scores_of(tiny[None], tiny, "members")
    assert np.isnan(scores["structural_similarity"].overall)
    assert scores["mean_squared_error"].overall == 0


def test_missing_pixels_are_left_out_of_every_error():
    observation = np.zeros((1, 8, 8), np.float32)
    ensemble = np.full((2, 1, 8, 8), 0.5, np.float32)
    observation[0, 0] = np.nan
    ensemble[0, 0, 1] = np.nan
    ensemble[:, 0, 2] = 1.0
    for of in ("ensemble_mean", "members"):
        scores = scores_of(ensemble, observation, of)
        assert scores["mean_absolute_error"].overall == pytest.approx((1 + 5 * 0.5) / 6)
        assert scores["mean_error"].overall == pytest.approx((1 + 5 * 0.5) / 6)


def test_members_and_their_mean_are_told_apart():
    observation = np.zeros((1, 8, 8), np.float32)
    ensemble = np.stack([np.zeros_like(observation), np.ones_like(observation)])
    mean, members = (
        scores_of(ensemble, observation, of)["mean_squared_error"].overall
        for of in ("ensemble_mean", "members")
    )
    assert (mean, members) == (0.25, 0.5)
