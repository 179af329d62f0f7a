from functools import cache

import mindspore as ms
import numpy as np
import pytest
import sampler_oracle as oracle
from posterior_oracle import posterior_step
from toy_denoiser import GaussianDenoiser, ToyAlignment

from hpc.errors import UserError
from prediff.diffusion import (
    AlignmentGuidance,
    GuidanceGradient,
    Sampler,
    StraightPath,
    guidance_gradient,
    noise_schedule,
    sampling_plan,
)
from prediff.diffusion.guidance import clean_shift_weights, matching_steps

LINEAR = noise_schedule(name="linear")
SHAPE = (3, 2, 4, 4, 5)
STEP = np.array([700, 20, 300], np.int32)
TARGET = np.array([0.4, -0.2, 0.1], np.float32)
NOISY = np.random.RandomState(4).standard_normal(SHAPE).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    ms.set_context(mode=ms.GRAPH_MODE)


def _obtained(noisy: np.ndarray, step: np.ndarray) -> np.ndarray:
    """P of ToyAlignment, in float64."""
    weight = np.linspace(-1, 1.5, noisy.shape[-1])
    scaled = (noisy.astype(np.float64) * weight).mean(axis=(2, 3, 4))
    return (np.sin(scaled) * (1 + step[:, None] / 1000)).mean(axis=1)


def _energy(noisy: np.ndarray, coupling: str) -> float:
    distance = _obtained(noisy, STEP) - TARGET
    return np.abs(distance).sum() if coupling == "per_sample" else np.linalg.norm(distance)


def _numeric_gradient(coupling: str) -> np.ndarray:
    noisy = NOISY.astype(np.float64)
    gradient = np.empty(SHAPE)
    for index in np.ndindex(SHAPE):
        moved = noisy.copy()
        moved[index] += 1e-4
        above = _energy(moved, coupling)
        moved[index] -= 2e-4
        gradient[index] = (above - _energy(moved, coupling)) / 2e-4
    return gradient


def _gradient(coupling: str, target: np.ndarray = TARGET, **options) -> np.ndarray:
    return guidance_gradient(
        alignment=ToyAlignment(SHAPE[-1]),
        noisy=ms.Tensor(NOISY),
        step=ms.Tensor(STEP),
        target=ms.Tensor(target),
        coupling=coupling,
        **options,
    ).asnumpy()


@pytest.mark.parametrize("coupling", ["per_sample", "reference"])
def test_the_gradient_is_that_of_the_energy(coupling):
    expected = 50 * _numeric_gradient(coupling)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(_gradient(coupling), expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_proportional_to_the_scale():
    np.testing.assert_allclose(
        _gradient("per_sample", scale=5.0), _gradient("per_sample") / 10, rtol=1e-5
    )


def test_a_target_may_have_a_trailing_axis():
    np.testing.assert_array_equal(
        _gradient("reference", target=TARGET[:, None]), _gradient("reference")
    )


def test_a_sample_feels_its_neighbours_in_reference_coupling_only():
    other = TARGET + np.array([0, 5, 0], np.float32)
    np.testing.assert_array_equal(_gradient("per_sample", other)[0], _gradient("per_sample")[0])
    coupled, before = _gradient("reference", other)[0], _gradient("reference")[0]
    assert np.abs(coupled).max() < 0.5 * np.abs(before).max()


@pytest.mark.parametrize("coupling", ["per_sample", "reference"])
def test_the_gradient_is_zero_where_the_target_is_met(coupling):
    class Constant(ToyAlignment):
        def construct(self, noisy, step):
            return 0 * noisy.mean(axis=(2, 3, 4)).expand_dims(-1) + 0.25

    gradient = GuidanceGradient(Constant(5), coupling=coupling)
    met = gradient(ms.Tensor(NOISY), ms.Tensor(STEP), ms.Tensor(np.full(3, 0.25, np.float32)))
    np.testing.assert_array_equal(met.asnumpy(), 0)


CONDITION = ms.Tensor(oracle.condition())


def _noise(number: int) -> np.ndarray:
    return oracle.normals(number).astype(np.float32)


@cache
def _sampler(*, guided: bool, flow: bool = False) -> Sampler:
    path, parameterization = (StraightPath(1000), "velocity") if flow else (LINEAR, "eps")
    return Sampler(
        GaussianDenoiser(path, parameterization, mean=0.0, deviation=1.0),
        schedule=path,
        parameterization=parameterization,
        guidance=AlignmentGuidance(ToyAlignment(2), schedule=LINEAR, scale=4.0) if guided else None,
    )


def _sampled(target, *, flow: bool = False, **options) -> np.ndarray:
    sampler = _sampler(guided=target is not None, flow=flow)
    return sampler.sample(noise=_noise, condition=CONDITION, target=target, **options).asnumpy()


def test_guided_ddpm_is_the_published_update():
    """The sampler's shift of x_0 against the shift of the mean, written out over a chain."""
    denoiser = GaussianDenoiser(LINEAR, "eps", mean=0.0, deviation=1.0)
    gradient = GuidanceGradient(ToyAlignment(2), scale=4.0)
    target = np.array([0.8, -0.5], np.float32)
    noisy = ms.Tensor(_noise(0))
    for number, t in enumerate(range(12)[::-1], start=1):
        step = ms.Tensor([t, t], ms.int32)
        noisy = posterior_step(
            schedule=LINEAR,
            noisy=noisy,
            step=step,
            prediction=denoiser(noisy, step, CONDITION),
            noise=ms.Tensor(_noise(number)),
            guidance_gradient=gradient(noisy, step, ms.Tensor(target)),
        )
    guided = _sampled(target, solver="ddpm_truncated", steps=12)
    np.testing.assert_allclose(guided, noisy.asnumpy(), atol=1e-5)
    assert np.abs(guided - _sampled(None, solver="ddpm_truncated", steps=12)).max() > 1e-3


@pytest.mark.parametrize(
    ("solver", "flow"),
    [
        ("ddpm", False),
        ("ddim", False),
        ("dpmpp", False),
        ("dpmpp_sde", False),
        ("heun", False),
        ("euler", True),
        ("midpoint", True),
    ],
)
def test_every_solver_moves_the_intensity_towards_the_target(solver, flow):
    """Flow matching is guided by an alignment network that was trained on diffusion's z_t."""
    clean = np.zeros(2, np.int32)
    options = {"solver": solver, "steps": 15, "flow": flow}
    below, plain, above = (
        _obtained(_sampled(target, **options), clean)
        for target in (np.full(2, -2.0), None, np.full(2, 2.0))
    )
    assert np.all(below < plain - 0.3)
    assert np.all(above > plain + 0.3)


def test_few_guided_steps_shift_x_as_far_as_the_thousand_that_they_replace():
    """A constant gradient over a stretch of the chain moves x by the same amount, to 10 %."""
    shift = clean_shift_weights(schedule=LINEAR)
    full = sampling_plan(solver="ddpm", schedule=LINEAR, steps=1000)
    few = sampling_plan(solver="ddpm", schedule=LINEAR, steps=100)
    for start in (300, 600):
        long_jump = list(few.steps).index(start - 1)
        moved_at_once = few.clean[long_jump] * shift[start - 1]
        moved = 0.0
        for noisy, clean, t in zip(full.noisy, full.clean, full.steps, strict=True):
            if start - 10 <= t < start:
                moved = noisy * moved + clean * shift[t]
        assert moved_at_once == pytest.approx(moved, rel=0.1)


def test_a_schedule_matches_itself_step_by_step():
    np.testing.assert_array_equal(matching_steps(path=LINEAR, schedule=LINEAR), np.arange(1000))


def test_the_straight_path_is_matched_by_signal_to_noise():
    path = StraightPath(1000)
    matched = matching_steps(path=path, schedule=LINEAR)
    assert np.all(np.diff(matched) >= 0)
    middle = np.arange(100, 950)
    wanted = np.log(path.signal[middle] / path.noise_level[middle])
    found = np.log(LINEAR.signal / LINEAR.noise_level)[matched[middle]]
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_an_unknown_coupling_is_refused():
    with pytest.raises(UserError, match=r"per_batch.*per_sample, reference"):
        GuidanceGradient(ToyAlignment(2), coupling="per_batch")
