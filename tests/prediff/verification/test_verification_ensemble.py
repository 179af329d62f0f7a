"""Scores of ensembles against closed forms, brute force, and what they must mean."""

import numpy as np
import pytest

from hpc.errors import UserError
from prediff.verification.case import ScoredCase
from prediff.verification.crps import fair_crps, gaussian_crps, plain_crps
from prediff.verification.ensemble import (
    FAIR_CRPS,
    PLAIN_CRPS,
    CrpsFamily,
    RankHistogramFamily,
    SpreadSkillFamily,
)
from prediff.verification.probability import ProbabilityFamily


def scores_of(family, case):
    return {score.name: score for score in family.scores(family.case_sums(case))}


def test_crps_equals_the_pairwise_definition():
    generator = np.random.RandomState(0)
    ensemble, observation = generator.rand(6, 50), generator.rand(50)
    absolute = np.abs(ensemble - observation).mean(axis=0)
    pairs = np.abs(ensemble[:, None] - ensemble).sum(axis=(0, 1))
    np.testing.assert_allclose(plain_crps(ensemble, observation), absolute - pairs / 2 / 36)
    np.testing.assert_allclose(fair_crps(ensemble, observation), absolute - pairs / 2 / 30)


def test_fair_crps_has_the_same_expectation_for_any_number_of_members():
    generator = np.random.RandomState(1)
    observation = generator.standard_normal(200_000)
    exact = 1 / np.sqrt(np.pi)
    for members in (2, 4, 8):
        ensemble = generator.standard_normal((members, observation.size))
        assert fair_crps(ensemble, observation).mean() == pytest.approx(exact, abs=0.006)
        assert plain_crps(ensemble, observation).mean() > exact * (1 + 0.8 / members)


def test_gaussian_crps_equals_the_integral_of_the_squared_difference():
    ensemble, observation = np.array([[0.2], [0.5], [0.9]]), np.array([0.3])
    from scipy.stats import norm

    grid = np.linspace(-3, 4, 400_001)
    cdf = norm.cdf(grid, ensemble.mean(), ensemble.std(ddof=1))
    integral = np.trapezoid if hasattr(np, "trapezoid") else np.trapz
    expected = integral((cdf - (grid >= observation)) ** 2, grid)
    assert gaussian_crps(ensemble, observation)[0] == pytest.approx(expected, abs=1e-5)


def test_one_member_scores_its_absolute_error():
    generator = np.random.RandomState(2)
    forecast, observation = generator.rand(2, 3, 16, 16).astype(np.float32)
    scores = scores_of(CrpsFamily(poolings=(1, 4)), ScoredCase(forecast[None], observation))
    error = np.abs(forecast.astype(float) - observation).mean()
    assert scores[PLAIN_CRPS].overall[0] == pytest.approx(error)
    assert scores[FAIR_CRPS].overall[0] == pytest.approx(error)


def test_pooled_crps_scores_the_pooled_fields():
    generator = np.random.RandomState(3)
    ensemble = generator.rand(4, 2, 8, 12).astype(np.float32)
    observation = generator.rand(2, 8, 12).astype(np.float32)
    family = CrpsFamily(poolings=(1, 4))
    scores = scores_of(family, ScoredCase(ensemble, observation))[PLAIN_CRPS]
    assert family.labels == ("pool_1", "max_pool_4", "mean_pool_4")
    for number, pool in ((1, np.max), (2, np.mean)):
        pooled = [
            pool(field.reshape(*field.shape[:-2], 2, 4, 3, 4), axis=(-3, -1))
            for field in (ensemble, observation)
        ]
        assert scores.overall[number] == pytest.approx(plain_crps(*pooled).mean(), rel=1e-6)


def test_spread_matches_skill_when_truth_is_one_more_member():
    generator = np.random.RandomState(4)
    for members in (2, 10):
        draws = 0.5 + 0.1 * generator.standard_normal((members + 1, 4, 64, 64))
        draws = np.clip(draws, 0, 1).astype(np.float32)
        scores = scores_of(SpreadSkillFamily(), ScoredCase(draws[1:], draws[0]))
        assert scores["spread_skill_ratio"].overall == pytest.approx(1, abs=0.02)


def test_spread_of_one_member_is_undefined_and_its_skill_is_not():
    frames = np.random.RandomState(5).rand(2, 1, 1, 8, 8).astype(np.float32)
    scores = scores_of(SpreadSkillFamily(), ScoredCase(frames[0], frames[1][0]))
    assert np.isnan(scores["spread"].overall)
    assert np.isnan(scores["spread_skill_ratio"].overall)
    assert scores["skill"].overall > 0


def test_rank_histogram_counts_the_members_below():
    ensemble = np.array([0.1, 0.3, 0.5], np.float32)[:, None, None, None]
    observation = np.array([[[0.0, 0.2, 0.4, 0.6]]], np.float32)
    ensemble = np.broadcast_to(ensemble, (3, *observation.shape))
    sums = RankHistogramFamily(members=3).case_sums(ScoredCase(ensemble, observation))
    np.testing.assert_array_equal(sums["rank_histogram"][0, 0], [1, 1, 1, 1])


def test_rank_histogram_splits_ties_evenly_and_keeps_every_pixel():
    generator = np.random.RandomState(6)
    ensemble = (generator.randint(0, 4, (5, 2, 16, 16)) / 4).astype(np.float32)
    observation = (generator.randint(0, 4, (2, 16, 16)) / 4).astype(np.float32)
    sums = RankHistogramFamily(members=5).case_sums(ScoredCase(ensemble, observation))
    expected = np.zeros(6)
    for pixel in range(observation.size):
        members, truth = ensemble.reshape(5, -1)[:, pixel], observation.reshape(-1)[pixel]
        low, ties = (members < truth).sum(), (members == truth).sum()
        expected[low : low + ties + 1] += 1 / (ties + 1)
    np.testing.assert_allclose(sums["rank_histogram"][0].sum(axis=0), expected, rtol=1e-9)


def test_rank_histogram_is_flat_for_a_perfect_ensemble_also_where_it_rains():
    generator = np.random.RandomState(7)
    draws = np.clip(generator.standard_normal((6, 8, 64, 64)), 0, 1).astype(np.float32)
    family = RankHistogramFamily(members=5)
    distance = scores_of(family, ScoredCase(draws[1:], draws[0]))["rank_histogram_distance"]
    assert (distance.overall < 0.01).all()
    too_dry = scores_of(family, ScoredCase(draws[1:] * 0.5, draws[0]))["rank_histogram_distance"]
    assert (too_dry.overall > 0.05).all()


def test_rain_histogram_leaves_dry_pixels_out():
    observation = np.zeros((1, 4, 4), np.float32)
    observation[0, 0, 0] = 0.5
    sums = RankHistogramFamily(members=2).case_sums(
        ScoredCase(np.zeros((2, 1, 4, 4), np.float32), observation)
    )
    np.testing.assert_array_equal(sums["rank_histogram"].sum(axis=(1, 2)), [16, 1])
    np.testing.assert_array_equal(sums["rank_histogram"][1, 0], [0, 0, 1])


def test_missing_pixels_are_left_out_of_all_ensemble_scores():
    generator = np.random.RandomState(8)
    ensemble = generator.rand(3, 1, 8, 8).astype(np.float32)
    observation = generator.rand(1, 8, 8).astype(np.float32)
    kept = ScoredCase(ensemble[..., 2:], observation[..., 2:])
    spoiled, holes = ensemble.copy(), observation.copy()
    spoiled[1, ..., 0] = np.nan
    holes[..., 1] = np.nan
    missing = ScoredCase(spoiled, holes)
    for family in (
        CrpsFamily(poolings=(1,)),
        SpreadSkillFamily(),
        RankHistogramFamily(members=3),
        ProbabilityFamily(members=3),
    ):
        whole, partial = family.case_sums(kept), family.case_sums(missing)
        for name in whole:
            np.testing.assert_allclose(partial[name], whole[name], rtol=1e-6, err_msg=name)


def test_reliability_of_a_calibrated_ensemble_lies_on_the_diagonal():
    generator = np.random.RandomState(9)
    chance = generator.rand(4, 64, 64)
    draws = (generator.rand(11, *chance.shape) < chance).astype(np.float32)
    family = ProbabilityFamily(members=10, thresholds=(128.0,))
    sums = family.case_sums(ScoredCase(draws[1:], draws[0]))
    curve = family.curves(sums)["reliability"]["128"]
    # Beta-binomial: with a uniform prior the expected frequency is (k + 1) / (M + 2).
    expected = (np.arange(11) + 1) / 12
    np.testing.assert_allclose(curve["observed_frequency"], expected, atol=0.03)
    assert sum(curve["pixels"]) == chance.size


def test_large_ensembles_share_eleven_probability_bins():
    draws = np.random.RandomState(10).rand(33, 1, 16, 16).astype(np.float32)
    family = ProbabilityFamily(members=32, thresholds=(128.0,))
    curve = family.curves(family.case_sums(ScoredCase(draws[1:], draws[0])))["reliability"]["128"]
    assert len(curve["pixels"]) == 11
    assert sum(curve["pixels"]) == 256


def test_brier_skill_is_zero_for_a_forecast_of_the_frequency():
    observation = np.zeros((1, 8, 8), np.float32)
    observation[0, :, :4] = 1
    ensemble = np.stack([np.zeros_like(observation), np.ones_like(observation)])
    scores = scores_of(
        ProbabilityFamily(members=2, thresholds=(74.0,)), ScoredCase(ensemble, observation)
    )
    assert scores["brier_score"].overall[0] == 0.25
    assert scores["brier_skill_score"].overall[0] == 0


def test_another_number_of_members_is_refused():
    case = ScoredCase(np.zeros((2, 1, 8, 8)), np.zeros((1, 8, 8)))
    for family in (RankHistogramFamily(members=3), ProbabilityFamily(members=3)):
        with pytest.raises(UserError, match="2 members came to scores of 3"):
            family.case_sums(case)
