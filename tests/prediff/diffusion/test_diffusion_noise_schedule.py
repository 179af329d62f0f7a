import numpy as np
import pytest
from diffusion_fixture import REFERENCE

from hpc.errors import UserError
from prediff.diffusion import SCHEDULES, StraightPath, noise_schedule
from prediff.diffusion.time_steps import visited_time_steps

INDEX = REFERENCE["index"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_betas_equal_the_reference(name):
    betas = noise_schedule(name=name).betas
    assert betas.dtype == np.float64
    np.testing.assert_allclose(betas[INDEX], REFERENCE[f"betas/{name}"], rtol=1e-10)


@pytest.mark.parametrize("table", [k[6:] for k in REFERENCE if k.startswith("sched.")])
def test_every_table_of_the_linear_schedule_equals_the_reference(table):
    tensor = noise_schedule(name="linear").tensor(table)
    assert str(tensor.dtype) == "Float32"
    np.testing.assert_allclose(tensor.asnumpy()[INDEX], REFERENCE[f"sched.{table}"], rtol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_posterior_is_that_of_two_gaussians(name):
    """Bayes: q(x_{t-1} | x_0) and q(x_t | x_{t-1}) multiply to the tabulated posterior."""
    schedule = noise_schedule(name=name)
    t = np.array([1, 2, 300, 999])
    prior_precision = 1 / (1 - schedule.alphas_cumprod[t - 1])
    likelihood_precision = schedule.alphas[t] / schedule.betas[t]
    variance = 1 / (prior_precision + likelihood_precision)
    of_clean = variance * prior_precision * np.sqrt(schedule.alphas_cumprod[t - 1])
    of_noisy = variance * likelihood_precision / np.sqrt(schedule.alphas[t])
    np.testing.assert_allclose(schedule.posterior_variance[t], variance, rtol=1e-9)
    np.testing.assert_allclose(schedule.posterior_mean_coef1[t], of_clean, rtol=1e-9)
    np.testing.assert_allclose(schedule.posterior_mean_coef2[t], of_noisy, rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 7, 50, 999])
def test_a_respaced_schedule_keeps_abar_at_the_steps_it_visits(steps):
    schedule = noise_schedule()
    respaced, visited = schedule.respaced(steps)
    assert visited[-1] == 999
    assert len(visited) == respaced.num_steps == steps
    np.testing.assert_allclose(
        respaced.alphas_cumprod, schedule.alphas_cumprod[visited], rtol=1e-12
    )


def test_respacing_to_every_step_changes_nothing():
    schedule = noise_schedule()
    respaced, visited = schedule.respaced(1000)
    assert respaced is schedule
    np.testing.assert_array_equal(visited, np.arange(1000))


@pytest.mark.parametrize("spacing", ["uniform", "quadratic"])
@pytest.mark.parametrize("num_steps", [2, 57, 1000])
def test_visited_steps_fall_strictly_from_the_noisiest_one(num_steps, spacing):
    for steps in {1, 2, num_steps // 3 or 1, num_steps - 1, num_steps}:
        visited = visited_time_steps(num_steps=num_steps, steps=steps, spacing=spacing)
        assert visited[0] == num_steps - 1
        assert visited[-1] >= 0
        assert np.all(np.diff(visited) < 0)
        assert len(visited) == steps


def test_twenty_uniform_steps_end_with_a_jump_as_long_as_the_others():
    visited = visited_time_steps(num_steps=1000, steps=20)
    np.testing.assert_array_equal(visited, np.arange(999, 0, -50))


def test_the_straight_path_runs_from_almost_data_to_pure_noise():
    path = StraightPath(num_steps=10)
    np.testing.assert_allclose(path.noise_level, np.arange(1, 11) / 10)
    np.testing.assert_allclose(path.signal + path.noise_level, 1)


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: noise_schedule(name="lineer"), "lineer"),
        (lambda: noise_schedule(num_steps=1), "at least 2"),
        (lambda: StraightPath(num_steps=1), "at least 2"),
        (lambda: visited_time_steps(num_steps=10, steps=11), "between 1 and"),
        (lambda: visited_time_steps(num_steps=10, steps=0), "between 1 and"),
        (lambda: visited_time_steps(num_steps=10, steps=5, spacing="cubic"), "cubic"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_in_one_line(build, word):
    with pytest.raises(UserError, match=word) as error:
        build()
    assert "\n" not in str(error.value)
