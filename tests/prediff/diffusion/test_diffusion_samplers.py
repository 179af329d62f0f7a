from functools import partial

import mindspore as ms
import numpy as np
import pytest
import sampler_oracle as oracle
from toy_denoiser import ToyAlignment, ToyDenoiser

from hpc.errors import UserError
from prediff.diffusion import (
    AlignmentGuidance,
    MemberNoise,
    Sampler,
    StraightPath,
    noise_schedule,
    sample,
    sample_ensemble,
)
from prediff.diffusion.samplers.ddim import ddim
from prediff.diffusion.samplers.solvers import SOLVERS

GOLDENS = dict(np.load(oracle.GOLDENS))
CONDITION = ms.Tensor(oracle.condition())
SCHEDULES = {name: noise_schedule(name=name) for name in oracle.SCHEDULES}
SCHEDULES["straight"] = StraightPath(1000)
PARAMETERIZATIONS = [
    (schedule, parameterization)
    for schedule, names in {
        "linear": ("eps", "x0", "v"),
        "cosine": ("x0", "v"),
        "sqrt_linear": ("eps", "x0", "v"),
        "sqrt": ("x0", "v"),
        "straight": ("velocity", "x0"),
    }.items()
    for parameterization in names
]


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    ms.set_context(mode=ms.GRAPH_MODE)


def _noise(number: int) -> np.ndarray:
    return oracle.normals(number).astype(np.float32)


def _sampler(schedule="linear", parameterization="eps", **options) -> Sampler:
    path = SCHEDULES[schedule]
    return Sampler(
        ToyDenoiser(path, parameterization),
        schedule=path,
        parameterization=parameterization,
        **options,
    )


def test_the_stored_goldens_are_what_the_oracle_computes():
    computed = oracle.goldens()
    assert computed.keys() == GOLDENS.keys()
    for name, value in computed.items():
        np.testing.assert_allclose(value, GOLDENS[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("schedule", "parameterization"), PARAMETERIZATIONS)
def test_every_solver_gives_the_golden_of_its_paper(schedule, parameterization, monkeypatch):
    sampler = _sampler(schedule, parameterization)
    solvers = [name.split("/")[0] for name in GOLDENS if name.endswith(f"/{schedule}")]
    assert len(solvers) == (2 if schedule == "straight" else 7)
    monkeypatch.setitem(SOLVERS, "ddim_eta0.5", partial(ddim, eta=0.5))
    for solver in solvers:
        latents = sampler.sample(
            noise=_noise, condition=CONDITION, steps=oracle.STEPS, solver=solver
        )
        golden = GOLDENS[f"{solver}/{schedule}"]
        np.testing.assert_allclose(latents.asnumpy(), golden, atol=1e-5, err_msg=solver)


def test_one_graph_serves_every_solver_and_step_count():
    sampler = _sampler()
    for solver, steps in [("ddpm", 3), ("ddim", 4), ("dpmpp", 5), ("dpmpp_sde", 3), ("heun", 2)]:
        sampler.sample(noise=_noise, condition=CONDITION, steps=steps, solver=solver)
    assert len(sampler._step.compile_cache) == 1


def test_sample_is_the_one_shot_form_of_a_sampler():
    latents = sample(
        denoiser=ToyDenoiser(SCHEDULES["linear"], "v"),
        noise=_noise,
        schedule=SCHEDULES["linear"],
        steps=oracle.STEPS,
        solver="dpmpp",
        condition=CONDITION,
        parameterization="v",
    )
    np.testing.assert_allclose(latents.asnumpy(), GOLDENS["dpmpp/linear"], atol=1e-5)


CASE_CONDITIONS = np.random.RandomState(3).standard_normal((2, 3, 3, 3, 2)).astype(np.float32)


def _ensemble(sampler: Sampler, **changes) -> np.ndarray:
    arguments = {
        "condition": CASE_CONDITIONS,
        "sample_shape": (2, 3, 3, 2),
        "members": range(5),
        "seed": 11,
        "steps": 4,
        "solver": "ddpm",
        "batch_size": 4,
    }
    return sample_ensemble(sampler, **arguments | changes)


def test_a_member_is_the_same_in_any_batch_on_any_rank_and_beside_any_case():
    sampler = _sampler()
    ensemble = _ensemble(sampler)
    assert ensemble.shape == (2, 5, 2, 3, 3, 2)
    np.testing.assert_array_equal(_ensemble(sampler, members=[3, 1]), ensemble[:, [3, 1]])
    np.testing.assert_array_equal(
        _ensemble(sampler, condition=CASE_CONDITIONS[1:], cases=[1]), ensemble[1:]
    )
    np.testing.assert_allclose(_ensemble(sampler, batch_size=7), ensemble, atol=1e-6)


def test_members_cases_and_seeds_differ():
    sampler = _sampler()
    ensemble = _ensemble(sampler, condition=np.repeat(CASE_CONDITIONS[:1], 2, axis=0))
    samples = [*ensemble[0], *ensemble[1], _ensemble(sampler, seed=12)[0, 0]]
    for i, one in enumerate(samples):
        for other in samples[:i]:
            assert np.abs(one - other).max() > 0.1


def test_the_last_batch_of_an_ensemble_compiles_nothing_new():
    sampler = _sampler()
    _ensemble(sampler, members=range(3), batch_size=4)
    assert len(sampler._step.compile_cache) == 1


def test_keyed_noise_is_standard_normal_and_fresh_in_every_call():
    noise = MemberNoise(seed=0, cases=[0, 0], members=[0, 1], shape=(4, 16, 16, 8))
    draws = np.stack([noise(number) for number in range(3)]).reshape(6, -1)
    np.testing.assert_allclose(draws.mean(axis=1), 0, atol=0.04)
    np.testing.assert_allclose(np.corrcoef(draws), np.eye(6), atol=0.04)
    np.testing.assert_allclose(draws.std(axis=1), 1, atol=0.04)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"solver": "plms"}, "plms.*choose one of ddpm"),
        ({"solver": "euler"}, "trained by diffusion"),
        ({"steps": 1001}, "between 1 and the schedule's 1000"),
        ({"target": [0.1, 0.2]}, "the network is missing"),
    ],
)
def test_a_chain_that_cannot_be_is_refused_in_one_line(change, words):
    arguments = {"noise": _noise, "condition": CONDITION, "steps": 3, "solver": "ddim"}
    with pytest.raises(UserError, match=words) as error:
        _sampler().sample(**arguments | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("schedule", ["cosine", "sqrt"])
def test_few_steps_on_eps_are_refused_where_a_schedule_ends_without_signal(schedule):
    arguments = {"noise": _noise, "condition": CONDITION, "steps": 10, "solver": "ddim"}
    with pytest.raises(UserError, match="would multiply the denoiser's error by"):
        _sampler(schedule, "eps").sample(**arguments)
    assert np.isfinite(_sampler(schedule, "v").sample(**arguments).asnumpy()).all()


def test_flow_matching_refuses_the_solvers_of_diffusion():
    sampler = _sampler("straight", "velocity")
    with pytest.raises(UserError, match="choose one of euler, midpoint"):
        sampler.sample(noise=_noise, condition=CONDITION, steps=3, solver="ddim")
    with pytest.raises(UserError, match="at most 500 steps"):
        sampler.sample(noise=_noise, condition=CONDITION, steps=501, solver="midpoint")


def test_reference_coupling_refuses_an_ensemble_in_several_batches():
    guidance = AlignmentGuidance(
        alignment=ToyAlignment(2), schedule=SCHEDULES["linear"], coupling="reference"
    )
    sampler = _sampler(guidance=guidance)
    with pytest.raises(UserError, match="all 10 of them must be one batch"):
        _ensemble(sampler, target=[0.1, 0.2])
