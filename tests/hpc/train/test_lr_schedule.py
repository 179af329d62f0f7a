import numpy as np
import pytest

from hpc.train.lr_schedule import warmup_cosine

# Steps of the published code's sequence, 200 steps, peak 1e-3.
PUBLISHED_200 = {
    0: 0.0001,
    1: 0.00014500000000000003,
    10: 0.00055,
    19: 0.0009550000000000001,
    20: 0.001,
    21: 0.0009999239237306174,
    60: 0.0008831391993379299,
    110: 0.0005005000000000002,
    150: 0.00017942758896157373,
    190: 8.588527370402097e-06,
    199: 1.076076269382561e-06,
}


def rate(step: int, total: int = 200, warmup: int = 20) -> float:
    return warmup_cosine(step=step, total_steps=total, warmup_steps=warmup, peak=1e-3)


def test_the_sequence_is_the_published_one():
    ours = [rate(step) for step in PUBLISHED_200]
    np.testing.assert_allclose(ours, list(PUBLISHED_200.values()), rtol=1e-12)


def test_the_rate_stays_at_its_end_after_the_last_step():
    assert rate(200) == rate(10_000) == pytest.approx(1e-6)


def test_without_warm_up_the_first_step_has_the_peak_rate():
    assert rate(0, warmup=0) == pytest.approx(1e-3)
