"""Contingency scores against the reference's numbers and against counting by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from hpc.errors import UserError
from prediff.verification.case import ScoredCase, max_pool
from prediff.verification.contingency import (
    LEAD_TIME_MEAN,
    POOLED,
    VIL_THRESHOLDS,
    ContingencyFamily,
    contingency_counts,
    contingency_scores,
)
from prediff.verification.sums import EventSums

DATA = Path(__file__).parents[2] / "data" / "verification"
NAMES = {
    "csi": "critical_success_index",
    "pod": "probability_of_detection",
    "sucr": "success_ratio",
    "bias": "reference_bias",
}


@pytest.fixture(scope="module")
def reference():
    expected = json.loads((DATA / "reference_metrics.json").read_text())["metrics"]
    with np.load(DATA / "reference_metrics.npz") as arrays:
        target = (arrays["target"][..., 0] / np.float32(255)).astype(np.float32)
        prediction = (arrays["pred_x1024"][..., 0] / np.float32(1024)).astype(np.float32)
    return prediction, target, expected


def totals_of(family, prediction, target):
    sums = EventSums()
    for number, (forecast, observation) in enumerate(zip(prediction, target, strict=True)):
        case = ScoredCase(forecast[None], observation)
        sums.add(event=str(number), case=str(number), sums=family.case_sums(case))
    return sums.totals()


def scores_by_name(family, totals):
    return {score.name: score for score in family.scores(totals) if score.of == "members"}


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_counts_and_scores_equal_the_reference_in_its_three_modes(reference, mode, number):
    prediction, target, expected = reference
    pooling = (1, 4, 16)[number]
    kind = f"mode{mode}/sevir{'' if pooling == 1 else f'_pool{pooling}'}"
    family = ContingencyFamily(
        poolings=(pooling,),
        epsilon=1e-4,
        counting=LEAD_TIME_MEAN if mode == 2 else POOLED,
        pooled_counting=LEAD_TIME_MEAN if mode == 2 else POOLED,
        reference_scaling=True,
    )
    totals = totals_of(family, prediction, target)
    counts = totals["contingency/members"][0]
    if mode == 0:
        counts = counts.sum(axis=1)
    for outcome, name in enumerate(("hits", "misses", "fas")):
        np.testing.assert_array_equal(counts[..., outcome], expected[f"{kind}/counts"][name])
    scores = scores_by_name(family, totals)
    for short, name in NAMES.items():
        score = scores[name]
        ours = score.by_lead_time[0] if mode == 1 else score.overall[0]
        theirs = [expected[kind][key][short] for key in (*map(str, VIL_THRESHOLDS), "avg")]
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-6)


def test_reference_scaling_loses_the_pixels_of_exactly_219_and_ours_does_not():
    frame = np.full((1, 16, 16), np.uint8(219) / np.float32(255), np.float32)
    hits = []
    for reference_scaling in (True, False):
        family = ContingencyFamily(reference_scaling=reference_scaling, poolings=(1,))
        sums = family.case_sums(ScoredCase(frame[None], frame))
        hits.append(int(sums["contingency/members"][0, -1, 0, 0]))
    assert hits == [0, 256]


def test_every_coded_value_reaches_its_own_threshold():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16) / np.float32(255)
    counts = contingency_counts(
        forecast=values * np.float32(255),
        observation=values * np.float32(255),
        thresholds=tuple(range(256)),
    )
    np.testing.assert_array_equal(counts[:, 0, 0], 256 - np.arange(256))


def test_reference_bias_is_the_reference_formula_and_not_the_logarithm(reference):
    oddity = reference[2]["bias_oddity"]
    counts = np.stack([oddity["hits"], oddity["misses"], oddity["fas"], np.zeros(3)], axis=-1)
    scores = contingency_scores(counts, epsilon=oddity["eps"])
    np.testing.assert_allclose(scores["reference_bias"], oddity["ret"], rtol=1e-6)
    np.testing.assert_allclose(scores["frequency_bias"], oddity["plain_frequency_bias"], rtol=1e-6)
    perfect = contingency_scores(np.array([100, 0, 0, 0]))
    assert perfect["frequency_bias"] == 1
    assert perfect["reference_bias"] == pytest.approx(2.0814, abs=1e-4)


def test_missing_in_either_counts_as_below_in_both_also_after_pooling():
    forecast = np.full((1, 8, 8), 0.9, np.float32)
    observation = forecast.copy()
    forecast[0, 0, 0] = np.nan
    observation[0, 7, 7] = np.nan
    family = ContingencyFamily(poolings=(1, 4), thresholds=(74.0,))
    counts = family.case_sums(ScoredCase(forecast[None], observation))["contingency/members"]
    np.testing.assert_array_equal(counts[0, 0, 0], [62, 0, 0, 2])
    np.testing.assert_array_equal(counts[1, 0, 0], [2, 0, 0, 2])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_rain_is_undefined_and_all_rain_is_perfect(value):
    frames = np.full((2, 16, 16), value, np.float32)
    family = ContingencyFamily()
    totals = totals_of(family, frames[None], frames[None])
    scores = scores_by_name(family, totals)
    csi = scores["critical_success_index"].overall
    assert np.isnan(csi).all() if value == 0 else (csi == 1).all()


def test_no_rain_scores_zero_where_the_protocol_says_so():
    frames = np.zeros((2, 16, 16), np.float32)
    for family in (ContingencyFamily(undefined=0.0), ContingencyFamily(epsilon=1e-4)):
        scores = scores_by_name(family, totals_of(family, frames[None], frames[None]))
        assert (scores["critical_success_index"].overall == 0).all()


def test_mean_over_thresholds_takes_those_observed_at_every_lead_time():
    observation = np.zeros((2, 16, 16), np.float32)
    observation[:, :8] = 0.5
    observation[1, 0] = 0.9
    forecast = np.where(observation > 0, 0.5, 0).astype(np.float32)
    forecast[0, 0, 0] = 0.95
    family = ContingencyFamily(poolings=(1,), thresholds=(74.0, 200.0))
    scores = scores_by_name(family, totals_of(family, forecast[None], observation[None]))
    csi = scores["critical_success_index"]
    np.testing.assert_array_equal(csi.overall[0], [1, 0, 1])
    np.testing.assert_array_equal(csi.by_lead_time[0, -1], [1, 1])


def test_members_are_pooled_and_the_mean_is_one_forecast():
    observation = np.full((1, 16, 16), 0.5, np.float32)
    ensemble = np.stack([observation, 0 * observation, observation])
    family = ContingencyFamily(poolings=(1,), thresholds=(74.0,))
    sums = family.case_sums(ScoredCase(ensemble, observation))
    np.testing.assert_array_equal(sums["contingency/members"][0, 0, 0], [512, 256, 0, 0])
    np.testing.assert_array_equal(sums["contingency/ensemble_mean"][0, 0, 0], [256, 0, 0, 0])


def test_pooling_takes_the_maximum_of_whole_blocks_and_cuts_the_rest():
    frame = np.arange(30.0).reshape(5, 6)
    np.testing.assert_array_equal(max_pool(frame, 2), [[7, 9, 11], [19, 21, 23]])
    with pytest.raises(UserError, match="pooling by 16 needs frames of at least 16 x 16"):
        max_pool(frame, 16)


@pytest.mark.parametrize(
    ("ensemble", "observation", "words"),
    [
        (np.zeros((2, 16, 16)), np.zeros((2, 16, 16)), r"\[member, time, height, width\]"),
        (np.zeros((1, 2, 16, 16)), np.zeros((3, 16, 16)), "do not have the same times"),
        (np.zeros((1, 1, 4, 4)), np.full((1, 4, 4), 200.0), "code / 255"),
        (np.full((1, 1, 4, 4), np.inf), np.zeros((1, 4, 4)), "infinite"),
    ],
)
def test_a_case_of_wrong_shape_or_scale_is_refused(ensemble, observation, words):
    with pytest.raises(UserError, match=words):
        ScoredCase(ensemble, observation)
