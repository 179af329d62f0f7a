import json

import numpy as np
import pytest

from hpc.errors import UserError
from hpc.train.health import Health


def well(health: Health, steps: int = 30, seed: int = 0) -> None:
    generator = np.random.default_rng(seed)
    for step in range(steps):
        loss, norm = 1 + 0.1 * generator.standard_normal(2)
        assert (
            health.observe(step=step, loss=loss, grad_norm=norm, is_finite=True, samples=[]) == []
        )


def bad(health: Health, step: int, samples=(4, 7)) -> list[str]:
    return health.observe(
        step=step, loss=float("nan"), grad_norm=float("inf"), is_finite=False, samples=samples
    )


def test_a_run_that_is_well_says_nothing():
    health = Health(patience=3)
    well(health, steps=300)
    assert set(health.counts.values()) == {0}


@pytest.mark.parametrize(
    ("loss", "norm", "counted"),
    [(2.5, 1.0, "loss_outliers"), (1.0, 2.5, "grad_norm_outliers"), (-0.5, 1.0, "loss_outliers")],
)
def test_six_sigma_is_counted_and_named(loss, norm, counted):
    health = Health(patience=3)
    well(health)
    lines = health.observe(step=30, loss=loss, grad_norm=norm, is_finite=True, samples=[])
    assert len(lines) == 1
    assert "step 30" in lines[0]
    assert "6 sigma" in lines[0]
    assert health.counts == {
        "skipped_steps": 0,
        "loss_outliers": 0,
        "grad_norm_outliers": 0,
        counted: 1,
    }


def test_the_first_steps_are_no_outliers_of_each_other():
    health = Health(patience=3)
    for step, loss in enumerate([1.0, 1.0, 100.0, 1.0]):
        assert health.observe(step=step, loss=loss, grad_norm=1.0, is_finite=True, samples=[]) == []


def test_a_bad_step_is_counted_and_names_its_samples():
    health = Health(patience=3)
    (line,) = bad(health, 12)
    assert line == "skipped step 12: loss nan, gradient norm inf, samples 4, 7"
    assert health.counts["skipped_steps"] == 1


def test_bad_steps_in_a_row_end_the_run_and_name_step_and_samples():
    health = Health(patience=3)
    bad(health, 5)
    bad(health, 6)
    with pytest.raises(
        UserError, match=r"3 bad steps in a row.*step 7:.*samples 0, 1.* and 4 more"
    ):
        bad(health, 7, samples=range(20))


def test_a_good_step_between_bad_ones_starts_the_count_again():
    health = Health(patience=2)
    for start in (0, 10, 20):
        bad(health, start)
        health.observe(step=start + 1, loss=1.0, grad_norm=1.0, is_finite=True, samples=[])
    assert health.counts["skipped_steps"] == 3


def test_a_bad_step_is_not_part_of_the_window():
    health = Health(patience=3)
    well(health)
    bad(health, 30)
    assert health.observe(step=31, loss=2.5, grad_norm=1.0, is_finite=True, samples=[])


def test_a_resumed_run_judges_as_if_nothing_had_happened():
    first, second = Health(patience=2), Health(patience=2)
    well(first)
    bad(first, 30)
    second.load(json.loads(json.dumps(first.export())))
    assert second.counts == first.counts
    assert second.export() == first.export()
    with pytest.raises(UserError, match="2 bad steps"):
        bad(second, 31)
