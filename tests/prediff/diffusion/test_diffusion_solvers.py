"""Solvers against the closed form: Gaussian data, whose ideal denoiser and ODE are known.

A plan is linear, and so is this denoiser; the mean and the variance of the samples follow
exactly, in float64, without drawing any.
"""

import mindspore as ms
import numpy as np
import pytest
from toy_denoiser import GaussianDenoiser

from prediff.diffusion import Sampler, StraightPath, noise_schedule, sampling_plan
from prediff.diffusion.samplers import DIFFUSION_SOLVERS
from prediff.diffusion.samplers.ddim import ddim
from prediff.diffusion.samplers.dpmpp import dpmpp_sde
from prediff.diffusion.samplers.plan import SamplingPlan
from prediff.diffusion.samplers.solvers import SOLVERS

MEAN, DEVIATION = 1.5, 0.6
LINEAR = noise_schedule(name="linear")


def table(plan: SamplingPlan) -> np.ndarray:
    """A plan's rows, ``[K, 4]``."""
    columns = ("noisy", "clean", "previous", "noise")
    return np.column_stack([plan.column(name) for name in columns])


def _gain(path, t):
    """E[x_0 | x_t] = mean + gain (x_t - signal mean)."""
    variance = path.signal[t] ** 2 * DEVIATION**2 + path.noise_level[t] ** 2
    return path.signal[t] * DEVIATION**2 / variance


def _moments(path, plan, start_mean=0.0, start_deviation=1.0):
    """Mean and standard deviation of the samples of a plan that starts from this Gaussian."""
    basis = 2 + plan.network_calls  # constant, start, one noise a call
    x, before = np.zeros(basis), np.zeros(basis)
    x[:2] = start_mean, start_deviation
    for call, (t, row) in enumerate(zip(plan.steps, table(plan), strict=True)):
        gain = _gain(path, t)
        clean = gain * x
        clean[0] += MEAN * (1 - gain * path.signal[t])
        x = row[0] * x + row[1] * clean + row[2] * before
        x[2 + call] += row[3]
        before = clean
    return x[0], np.sqrt(np.sum(x[1:] ** 2))


def _exact_start(path):
    """The Gaussian that data has become at the noisiest step: a chain from it ends at the data."""
    t = path.num_steps - 1
    return path.signal[t] * MEAN, np.hypot(path.signal[t] * DEVIATION, path.noise_level[t])


def _error(path, *, solver, **options):
    """Distance of the samples from the data, in standard deviations of the data."""
    plan = SOLVERS[solver](schedule=path, **options)
    mean, deviation = _moments(path, plan, *_exact_start(path))
    return np.hypot(mean - MEAN, deviation - DEVIATION) / DEVIATION


@pytest.mark.parametrize("name", ["linear", "cosine", "sqrt_linear", "sqrt"])
@pytest.mark.parametrize("solver", sorted(set(DIFFUSION_SOLVERS) - {"ddpm_truncated"}))
def test_many_steps_give_the_data_distribution(solver, name):
    schedule = noise_schedule(name=name)
    # "sqrt" adds noise in a few large steps and still has a tenth of it at its cleanest one.
    tolerance = 0.1 if name == "sqrt" else 0.015
    assert _error(schedule, solver=solver, steps=500, spacing="uniform") < tolerance


@pytest.mark.parametrize(("solver", "steps"), [("euler", 500), ("midpoint", 100)])
def test_many_steps_along_the_straight_path_give_the_data_distribution(solver, steps):
    assert _error(StraightPath(1000), solver=solver, steps=steps) < 0.005


@pytest.mark.parametrize(
    ("path", "solver", "options", "order"),
    [
        (LINEAR, "ddim", {"spacing": "quadratic"}, 1),
        (LINEAR, "dpmpp", {}, 2),
        (LINEAR, "heun", {}, 2),
        (StraightPath(640), "euler", {}, 1),
        (StraightPath(640), "midpoint", {}, 2),
    ],
)
def test_the_error_falls_with_the_order_of_the_solver(path, solver, options, order):
    counts = np.array([5, 10, 20, 40])
    errors = [_error(path, solver=solver, steps=int(n), **options) for n in counts]
    slope = -np.polyfit(np.log(counts), np.log(errors), deg=1)[0]
    assert order - 0.2 < slope < order + (0.2 if order == 1 else 1.2), errors


def test_second_order_at_twenty_steps_beats_ancestral_sampling_at_fifty():
    ancestral = _error(LINEAR, solver="ddpm", steps=50)
    for solver in ("dpmpp", "heun"):
        assert _error(LINEAR, solver=solver, steps=20) < 0.25 * ancestral


@pytest.mark.parametrize("steps", [3, 20, 1000])
def test_ddim_with_eta_one_is_respaced_ddpm(steps):
    implicit = ddim(schedule=LINEAR, steps=steps, eta=1.0)
    ddpm = sampling_plan(solver="ddpm", schedule=LINEAR, steps=steps)
    np.testing.assert_array_equal(implicit.steps, ddpm.steps)
    np.testing.assert_allclose(table(implicit), table(ddpm), rtol=1e-6, atol=1e-9)


def test_the_first_step_of_the_stochastic_multistep_solver_is_ddim_with_eta_one():
    options = {"schedule": LINEAR, "steps": 12, "spacing": "uniform"}
    multistep = dpmpp_sde(**options)
    ancestral = ddim(eta=1.0, **options)
    np.testing.assert_allclose(table(multistep)[0], table(ancestral)[0], rtol=1e-9)


def test_full_ddpm_visits_every_step_with_the_posterior_tables():
    plan = sampling_plan(solver="ddpm", schedule=LINEAR, steps=1000)
    np.testing.assert_array_equal(plan.steps, np.arange(999, -1, -1))
    np.testing.assert_array_equal(plan.noisy, LINEAR.posterior_mean_coef2[::-1])
    np.testing.assert_array_equal(plan.clean, LINEAR.posterior_mean_coef1[::-1])
    assert plan.noise[-1] == 0


def test_truncation_keeps_the_schedule_and_skips_the_noisy_part():
    full = sampling_plan(solver="ddpm", schedule=LINEAR, steps=1000)
    truncated = sampling_plan(solver="ddpm_truncated", schedule=LINEAR, steps=10)
    np.testing.assert_array_equal(truncated.steps, np.arange(10)[::-1])
    np.testing.assert_array_equal(table(truncated), table(full)[-10:])


@pytest.mark.parametrize(
    ("solver", "calls", "stochastic"),
    [
        ("ddpm", 20, True),
        ("ddim", 20, False),
        ("dpmpp", 20, False),
        ("dpmpp_sde", 20, True),
        ("heun", 39, False),
    ],
)
def test_network_calls_and_the_need_of_noise_are_as_documented(solver, calls, stochastic):
    plan = sampling_plan(solver=solver, schedule=LINEAR, steps=20)
    assert plan.network_calls == calls
    assert plan.stochastic == stochastic


@pytest.mark.parametrize(("solver", "steps"), [("dpmpp", 20), ("dpmpp_sde", 40), ("ddpm", 200)])
def test_drawn_samples_have_the_mean_and_deviation_of_the_data(solver, steps):
    ms.set_context(mode=ms.GRAPH_MODE)
    shape = (16, 1, 32, 32, 1)
    draws = np.random.RandomState(0)
    denoiser = GaussianDenoiser(LINEAR, "eps", mean=MEAN, deviation=DEVIATION)
    latents = Sampler(denoiser, schedule=LINEAR).sample(
        noise=lambda number: draws.standard_normal(shape).astype(np.float32),
        condition=ms.Tensor(np.zeros(shape, np.float32)),
        steps=steps,
        solver=solver,
    )
    expected = _moments(LINEAR, sampling_plan(schedule=LINEAR, solver=solver, steps=steps))
    values = latents.asnumpy()
    standard_error = DEVIATION / values.size**0.5
    assert abs(values.mean() - expected[0]) < 4 * standard_error
    assert abs(values.std() - expected[1]) < 4 * standard_error
    assert abs(values.mean() - MEAN) < 0.05
    assert abs(values.std() - DEVIATION) < 0.05
