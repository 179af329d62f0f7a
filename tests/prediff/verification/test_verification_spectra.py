"""Spectra and fractions skill score: what they must say of known fields."""

import numpy as np
import pytest

from hpc.errors import UserError
from prediff.verification.case import ScoredCase
from prediff.verification.neighbourhood import NeighbourhoodFamily
from prediff.verification.spectra import SpectraFamily, radial_power


def power_ring_by_ring(frame):
    """The definition, with the full Fourier plane."""
    height, width = frame.shape
    power = np.abs(np.fft.fft2(frame)) ** 2 / frame.size
    rows = np.fft.fftfreq(height, 1 / height)
    columns = np.fft.fftfreq(width, 1 / width)
    ring = np.rint(np.hypot(rows[:, None], columns))
    longer = max(height, width)
    return np.array([power[ring == r].mean() for r in range(longer // 2 + longer % 2)])


@pytest.mark.parametrize("shape", [(16, 16), (15, 15), (16, 12), (9, 16), (12, 17)])
def test_radial_power_of_any_shape_equals_the_full_plane(shape):
    frame = np.random.RandomState(0).rand(*shape)
    np.testing.assert_allclose(radial_power(frame), power_ring_by_ring(frame), rtol=1e-10)


def test_a_wave_has_its_power_at_its_wavenumber():
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * 5 * np.arange(64) / 64)
    power = radial_power(np.tile(wave, (64, 1)))
    assert np.argmax(power[1:]) + 1 == 5


def small_scale_ratio(ensemble, observation, of):
    family = SpectraFamily()
    scores = family.scores(family.case_sums(ScoredCase(ensemble, observation)))
    return next(score for score in scores if score.of == of).overall


def test_sharpness_is_one_for_like_fields_and_falls_with_blur():
    from scipy.ndimage import gaussian_filter

    draws = np.random.RandomState(1).rand(6, 2, 64, 64).astype(np.float32)
    ensemble, observation = draws[1:], draws[0]
    assert small_scale_ratio(ensemble, observation, "members") == pytest.approx(1, abs=0.05)
    assert small_scale_ratio(ensemble, observation, "ensemble_mean") == pytest.approx(0.2, abs=0.05)
    blurred = gaussian_filter(ensemble, (0, 0, 2, 2))
    assert small_scale_ratio(blurred, observation, "members") < 0.05


def test_spectra_leave_out_frames_with_missing_pixels():
    draws = np.random.RandomState(2).rand(2, 3, 16, 16).astype(np.float32)
    holes = draws[1].copy()
    holes[1, 0, 0] = np.nan
    sums = SpectraFamily().case_sums(ScoredCase(draws[:1], holes))
    curve = SpectraFamily().curves(sums)["spectra"]
    expected = radial_power(draws[1][[0, 2]]).mean(axis=0)[1:]
    np.testing.assert_allclose(curve["all_lead_times"]["observation"], expected, rtol=1e-6)
    np.testing.assert_allclose(curve["wavelength_pixels"], 16 / np.arange(1, 8))


def fractions_skill(ensemble, observation, scales, of="ensemble"):
    family = NeighbourhoodFamily(thresholds=(74.0,), scales=scales)
    scores = family.scores(family.case_sums(ScoredCase(ensemble, observation)))
    return next(score for score in scores if score.of == of).overall[0]


def test_a_displaced_cell_is_forgiven_at_scales_above_its_displacement():
    observation, forecast = np.zeros((2, 1, 64, 64), np.float32)
    observation[0, 20:24, 20:24] = 1
    forecast[0, 20:24, 26:30] = 1
    skill = fractions_skill(forecast[None], observation, (1, 5, 17, 33))
    assert skill[0] == 0
    assert (np.diff(skill) > 0).all()
    assert skill[-1] > 0.7


@pytest.mark.parametrize("of", ["members", "ensemble_mean", "ensemble"])
def test_a_perfect_forecast_has_skill_one_at_every_scale(of):
    observation = (np.random.RandomState(3).rand(2, 16, 16) > 0.5).astype(np.float32)
    ensemble = np.repeat(observation[None], 3, axis=0)
    np.testing.assert_array_equal(fractions_skill(ensemble, observation, (1, 5, 33), of), 1)


def test_the_ensemble_shares_of_two_half_right_members_beat_either_member():
    observation = np.zeros((1, 16, 16), np.float32)
    observation[0, :, 4:12] = 1
    left, right = observation.copy(), observation.copy()
    left[0, :, 8:] = 0
    right[0, :, :8] = 0
    ensemble = np.stack([left, right])
    members, together = (
        fractions_skill(ensemble, observation, (1,), of)[0] for of in ("members", "ensemble")
    )
    # Pixel by pixel: member 2*4/(4+8), probability 1/2 against 1: 1 - 8/4 / (8/4 + 8).
    assert members == pytest.approx(2 / 3)
    assert together == pytest.approx(0.8)


def test_an_even_neighbourhood_is_refused():
    with pytest.raises(UserError, match="odd number of pixels wide, not 4"):
        NeighbourhoodFamily(scales=(4,))
