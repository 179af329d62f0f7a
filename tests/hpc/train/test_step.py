"""A linear regression whose gradients are known, through the whole compiled step."""

from functools import cache

import mindspore as ms
import numpy as np
import pytest
from adamw_reference import Reference
from mindspore import Parameter, Tensor, nn, ops

from hpc.train.step import TrainState, TrainStep, train_step

OPTIONS = {"weight_decay": 1e-2, "max_norm": 1.0, "ema_decay": 0.9}
NAMES = {"weight": (6, 3), "bias": (3,)}


class Regression(nn.Cell):
    """Loss `mean((x w + b - y)^2)`; scalar: mean absolute error. Shapes `[B, 6]`, `[B, 3]`."""

    def __init__(self, *, with_scalar: bool = True):
        super().__init__()
        self.weight = Parameter(Tensor(weights()["weight"]), name="weight")
        self.bias = Parameter(Tensor(weights()["bias"]), name="bias")
        self.with_scalar = with_scalar

    def construct(self, x, y):
        error = ops.matmul(x, self.weight) + self.bias - y
        loss = ops.square(error).mean()
        if not self.with_scalar:
            return loss
        return loss, ops.abs(error).mean()


def weights() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {n: generator.standard_normal(s).astype(np.float32) for n, s in NAMES.items()}


def batch(number: int, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(100 + number)
    x = generator.standard_normal((size, 6)).astype(np.float32)
    return x, generator.standard_normal((size, 3)).astype(np.float32)


def new_step(*, with_scalar: bool = True, **options) -> TrainStep:
    ms.set_context(mode=ms.GRAPH_MODE)
    loss = Regression(with_scalar=with_scalar).set_train()
    parameters = {"weight": loss.weight, "bias": loss.bias}
    names = ("absolute_error",) if with_scalar else ()
    return train_step(loss, parameters, scalar_names=names, **{**OPTIONS, **options})


@cache
def step_and_start(**options) -> tuple[TrainStep, TrainState]:
    step = new_step(**options)
    return step, step.export()


def make_step(**options) -> TrainStep:
    """Return a step in its first state; compiled once for all tests with the same options."""
    step, start = step_and_start(**options)
    step.load(start)
    return step


def run(step: TrainStep, numbers, rate: float = 1e-2) -> list[dict[str, float]]:
    return [step(*batch(number), learning_rate=rate).read() for number in numbers]


def everything(step: TrainStep) -> dict[str, np.ndarray]:
    return by_name(step.export())


def by_name(state: TrainState) -> dict[str, np.ndarray]:
    model = {f"model/{name}": array for name, array in state.model.items()}
    ema = {f"ema/{name}": array for name, array in state.ema.items()}
    return {**model, **ema, **state.optimizer}


def assert_same_bits(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert list(first) == list(second)
    for name, array in first.items():
        assert array.tobytes() == second[name].tobytes(), name


def test_twenty_steps_are_those_of_the_formulas():
    step = make_step()
    theirs = Reference(weights(), **OPTIONS)
    for number in range(20):
        x, y = batch(number)
        error = x @ theirs.p["weight"] + theirs.p["bias"] - y
        gradients = {
            "weight": 2 * x.T @ error / error.size,
            "bias": 2 * error.sum(axis=0) / error.size,
        }
        norm = theirs.step(gradients, 1e-2)
        report = step(x, y, learning_rate=1e-2).read()
        assert report["loss"] == pytest.approx((error**2).mean(), rel=1e-5)
        assert report["absolute_error"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
        assert report["grad_norm"] == pytest.approx(norm, rel=1e-5)
        assert report["is_finite"] == 1.0
    state = step.export()
    for name in NAMES:
        np.testing.assert_allclose(state.model[name], theirs.p[name], atol=2e-6)
        np.testing.assert_allclose(state.ema[name], theirs.e[name], atol=2e-6)
    assert state.optimizer["updates"] == 20


def test_micro_batches_give_the_same_run_as_one_batch():
    whole, parts = make_step(), make_step(accumulation=4)
    for expected, found in zip(run(whole, range(10)), run(parts, range(10)), strict=True):
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-5), name
    expected, found = everything(whole), everything(parts)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_batch_with_nan_changes_nothing_and_the_run_goes_on(accumulation):
    step = make_step(accumulation=accumulation)
    run(step, range(2))
    before = everything(step)
    x, y = batch(2)
    x[0, 0] = np.nan
    report = step(x, y, learning_rate=1e-2).read()
    assert report["is_finite"] == 0.0
    assert np.isnan(report["loss"])
    assert_same_bits(before, everything(step))
    assert run(step, [3])[0]["is_finite"] == 1.0
    assert step.export().optimizer["updates"] == 3


@pytest.mark.parametrize("options", [{"bucket_bytes": 4}, {"accumulation": 4}])
def test_a_loaded_state_continues_bit_for_bit(options):
    step = make_step(**options)
    run(step, range(3))
    state = step.export()
    kept = {name: array.copy() for name, array in by_name(state).items()}
    expected = run(step, range(3, 6))
    end = everything(step)
    assert_same_bits(kept, by_name(state))
    step.load(state)
    assert_same_bits(kept, everything(step))
    assert run(step, range(3, 6)) == expected
    assert_same_bits(end, everything(step))


def test_a_new_process_would_continue_bit_for_bit():
    undisturbed, resumed = make_step(), new_step()
    run(undisturbed, range(3))
    resumed.load(undisturbed.export())
    assert run(resumed, range(3, 6)) == run(undisturbed, range(3, 6))
    assert_same_bits(everything(undisturbed), everything(resumed))


def test_a_state_does_not_depend_on_the_buckets():
    few, many = make_step(), make_step(bucket_bytes=4)
    run(few, range(3))
    many.load(few.export())
    assert_same_bits(everything(few), everything(many))


def test_the_average_can_stand_in_for_the_weights_and_leave_again():
    step = make_step()
    run(step, range(3))
    state = step.export()
    step.load_weights(step.export_ema())
    np.testing.assert_array_equal(step.parameters["weight"].asnumpy(), state.ema["weight"])
    step.load_weights(state.model)
    assert_same_bits(state.model, step.export().model)


def test_a_vote_to_stop_is_reported():
    step = make_step()
    assert step(*batch(0), learning_rate=0.0).read()["stop_votes"] == 0.0
    assert step(*batch(0), learning_rate=0.0, stop_vote=True).read()["stop_votes"] == 1.0


def test_a_loss_without_scalars_and_a_run_without_average_work():
    step = make_step(with_scalar=False, ema_decay=None)
    report = run(step, [0])[0]
    assert list(report) == ["loss", "grad_norm", "is_finite", "stop_votes"]
    assert step.export_ema() == {}


@pytest.mark.parametrize("options", [{}, {"accumulation": 4}])
def test_compiling_changes_nothing(options):
    step = make_step(**options)
    before = everything(step)
    step.compile(*batch(0))
    assert_same_bits(before, everything(step))


def test_samples_that_the_micro_batches_do_not_divide_are_a_mistake():
    with pytest.raises(AssertionError, match="8 samples in 3 micro-batches"):
        run(make_step(accumulation=3), [0])
