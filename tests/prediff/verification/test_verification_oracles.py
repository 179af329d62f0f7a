"""Our scores equal `scores`, `xskillscore` and `pysteps` on ordinary and degenerate cases."""

import json

import numpy as np
import pytest
import verification_oracles as oracles

from prediff.verification.case import ScoredCase
from prediff.verification.contingency import ContingencyFamily
from prediff.verification.continuous import ContinuousFamily
from prediff.verification.ensemble import FAIR_CRPS, PLAIN_CRPS, CrpsFamily, SpreadSkillFamily
from prediff.verification.neighbourhood import NeighbourhoodFamily
from prediff.verification.probability import ProbabilityFamily
from prediff.verification.spectra import radial_power

GOLDENS = json.loads(oracles.GOLDENS.read_text())
CASES = oracles.cases()
TOLERANCE = {"rtol": 1e-6, "atol": 1e-7}


def scores_of(family, case, of):
    return {
        score.name: score.by_lead_time
        for score in family.scores(family.case_sums(case))
        if score.of == of
    }


def assert_equal(ours, theirs):
    """An infinite bias (nothing observed) is undefined here."""
    theirs = np.array(theirs, float)
    np.testing.assert_allclose(ours, np.where(np.isinf(theirs), np.nan, theirs), **TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_errors_and_crps_equal_the_oracles(name):
    case, golden = ScoredCase(*CASES[name]), GOLDENS[name]
    errors = scores_of(ContinuousFamily(), case, "ensemble_mean")
    assert_equal(errors["mean_squared_error"], golden["mse"])
    assert_equal(errors["mean_absolute_error"], golden["mae"])
    crps = scores_of(CrpsFamily(poolings=(1,)), case, "ensemble")
    assert_equal(crps[PLAIN_CRPS][0], golden["crps"])
    assert_equal(crps[PLAIN_CRPS][0], golden["crps_xskillscore"])
    if case.members > 1:
        assert_equal(crps[FAIR_CRPS][0], golden["fair_crps"])
        assert_equal(scores_of(SpreadSkillFamily(), case, "ensemble")["spread"], golden["spread"])


@pytest.mark.parametrize("name", CASES)
def test_contingency_scores_of_the_mean_equal_the_oracles(name):
    family = ContingencyFamily(thresholds=oracles.THRESHOLDS, poolings=(1,))
    ours = scores_of(family, ScoredCase(*CASES[name]), "ensemble_mean")
    names = {
        "csi": "critical_success_index",
        "csi_xskillscore": "critical_success_index",
        "pod": "probability_of_detection",
        "far": "false_alarm_ratio",
        "hss": "heidke_skill_score",
        "bias": "frequency_bias",
    }
    for number, threshold in enumerate(oracles.THRESHOLDS):
        for short, score in names.items():
            assert_equal(ours[score][0, number], GOLDENS[name][f"{short}_{threshold:g}"])


@pytest.mark.parametrize("name", CASES)
def test_brier_scores_equal_the_oracles(name):
    case = ScoredCase(*CASES[name])
    family = ProbabilityFamily(members=case.members, thresholds=oracles.THRESHOLDS)
    ours = scores_of(family, case, "ensemble")
    for number, threshold in enumerate(oracles.THRESHOLDS):
        assert_equal(ours["brier_score"][number], GOLDENS[name][f"brier_{threshold:g}"])
        if case.members > 1:
            fair = GOLDENS[name][f"fair_brier_{threshold:g}"]
            assert_equal(ours["fair_brier_score"][number], fair)


@pytest.mark.parametrize("name", CASES)
def test_fractions_skill_scores_equal_pysteps(name):
    family = NeighbourhoodFamily(thresholds=oracles.THRESHOLDS, scales=oracles.SCALES)
    case = ScoredCase(*CASES[name])
    ours = scores_of(family, case, "ensemble_mean")["fractions_skill_score"]
    for row, threshold in enumerate(oracles.THRESHOLDS):
        for column, scale in enumerate(oracles.SCALES):
            assert_equal(ours[row, column], GOLDENS[name][f"fss_{threshold:g}_{scale}"])


def test_radial_power_equals_pysteps():
    np.testing.assert_allclose(
        radial_power(CASES["storms"][1]), GOLDENS["storms"]["power"], rtol=1e-6, atol=1e-12
    )


def test_the_stored_values_are_what_the_packages_say_today():
    for package in ("scores", "xskillscore", "pysteps"):
        pytest.importorskip(package)
    now = oracles.compute()
    assert now.keys() == GOLDENS.keys()
    for name, values in now.items():
        assert values.keys() == GOLDENS[name].keys()
        for key, value in values.items():
            np.testing.assert_allclose(value, GOLDENS[name][key], rtol=1e-9, err_msg=key)
