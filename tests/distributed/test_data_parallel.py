"""One process and two ranks make the same run out of the same global batches."""

from pathlib import Path

import numpy as np
import pytest
from ranks import run_ranks

SCRIPT = Path(__file__).with_name("data_parallel_run.py")


@pytest.mark.slow
def test_two_ranks_train_like_one_process(tmp_path):
    # One micro-batch of 8 alone; 2 ranks with 2 micro-batches of 2 each, and graphs that only the
    # first rank compiles.
    run_ranks(SCRIPT, str(tmp_path), "1", ranks=1, folder=tmp_path, timeout=200)
    run_ranks(SCRIPT, str(tmp_path), "2", ranks=2, folder=tmp_path, timeout=300)
    alone, first, second = (np.load(tmp_path / f"{n}.npz") for n in ("1_0", "2_0", "2_1"))

    for name in alone.files:
        assert first[name].tobytes() == second[name].tobytes(), f"ranks disagree on {name}"
    *numbers, votes, error = (first["reports"].T[i] for i in (0, 1, 2, 3, 4))
    loss, norm, is_finite = numbers
    expected = alone["reports"].T
    np.testing.assert_allclose(loss, expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(norm, expected[1], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(is_finite, expected[2])
    np.testing.assert_allclose(error, expected[4], rtol=0, atol=1e-6)
    for name in alone.files:
        if name != "reports":
            np.testing.assert_allclose(first[name], alone[name], rtol=0, atol=1e-6, err_msg=name)

    # The sample that holds NaN skips the step on both ranks, whoever reads it.
    assert 5 <= (is_finite == 0).sum() <= 6
    assert first["updates"] == is_finite.sum()
    # One rank's vote reaches the other.
    assert votes.tolist() == [0.5 if number == 6 else 0.0 for number in range(20)]
