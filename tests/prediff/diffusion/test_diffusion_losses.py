import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from posterior_oracle import q_sample, training_loss

from hpc.errors import UserError
from prediff.diffusion import (
    AlignmentLoss,
    DiffusionLoss,
    StraightPath,
    noise_schedule,
    vlb_weights,
)

LINEAR = noise_schedule(name="linear")
RANDOM = np.random.RandomState(9)
SHAPE = (3, 2, 4, 4, 2)
CLEAN, NOISE = RANDOM.standard_normal((2, *SHAPE)).astype(np.float32)
CONDITION = RANDOM.standard_normal((3, 3, 4, 4, 2)).astype(np.float32)
STEP = np.array([3, 400, 998], np.int32)
LOGVAR = (0.3 * RANDOM.standard_normal(1000)).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    ms.set_context(mode=ms.GRAPH_MODE)


class Affine(nn.Cell):
    """Something trainable that depends on every input; the key shifts it when it is given."""

    def __init__(self):
        super().__init__()
        self.weight = ms.Parameter(ms.Tensor(0.3, ms.float32), name="weight")

    def construct(self, noisy, step, condition, dropout_key=None):
        output = self.weight * noisy + condition.mean(axis=1, keep_dims=True)
        if dropout_key is not None:
            output = output + dropout_key.astype(ms.float32).reshape((-1, 1, 1, 1, 1))
        return output + step.astype(ms.float32).reshape((-1, 1, 1, 1, 1)) / 1000


class Oracle(nn.Cell):
    """Predicts what it was given."""

    def __init__(self, answer):
        super().__init__()
        self.answer = ms.Tensor(answer.astype(np.float32))

    def construct(self, noisy, step, condition, dropout_key=None):
        return self.answer


def _inputs() -> tuple:
    return ms.Tensor(CLEAN), ms.Tensor(NOISE), ms.Tensor(STEP), ms.Tensor(CONDITION)


def _at(table: np.ndarray) -> np.ndarray:
    return table[STEP].reshape(-1, 1, 1, 1, 1)


def _per_sample(path, target, condition=CONDITION, key=0) -> np.ndarray:
    """Squared error of Affine by hand, in float64, ``[B]``."""
    noisy = _at(path.signal) * CLEAN + _at(path.noise_level) * NOISE
    output = 0.3 * noisy + condition.mean(axis=1, keepdims=True) + _at(np.arange(1000) / 1000) + key
    return ((target - output) ** 2).mean(axis=(1, 2, 3, 4))


TARGETS = {
    "eps": NOISE,
    "x0": CLEAN,
    "v": _at(LINEAR.signal) * NOISE - _at(LINEAR.noise_level) * CLEAN,
    "velocity": NOISE - CLEAN,
}


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_the_loss_is_the_weighted_squared_error_of_what_is_predicted(parameterization):
    loss = DiffusionLoss(
        Affine(), schedule=LINEAR, parameterization=parameterization, vlb_weight=0.01
    )
    loss.logvar.set_data(ms.Tensor(LOGVAR))
    value, simple, bound = (float(part) for part in loss(*_inputs()))
    errors = _per_sample(LINEAR, TARGETS[parameterization])
    s = LOGVAR[STEP]
    weights = vlb_weights(schedule=LINEAR, parameterization=parameterization)[STEP]
    assert simple == pytest.approx(errors.mean(), rel=1e-5)
    assert bound == pytest.approx((weights * errors).mean(), rel=1e-5)
    expected = (errors * np.exp(-s) + s).mean() + 0.01 * (weights * errors).mean()
    assert value == pytest.approx(expected, rel=1e-5)


def test_the_log_variance_learns_by_its_closed_form_gradient():
    loss = DiffusionLoss(Affine(), schedule=LINEAR)
    loss.logvar.set_data(ms.Tensor(LOGVAR))
    names = [parameter.name for parameter in loss.trainable_params()]
    assert sorted(names) == ["denoiser.weight", "logvar"]

    class First(nn.Cell):
        def __init__(self, whole):
            super().__init__()
            self.whole = whole

        def construct(self, clean, noise, step, condition):
            return self.whole(clean, noise, step, condition)[0]

    gradient = ms.grad(First(loss), None, ms.ParameterTuple([loss.logvar]))(*_inputs())[0].asnumpy()
    expected = np.zeros(1000)
    expected[STEP] = (1 - _per_sample(LINEAR, NOISE) * np.exp(-LOGVAR[STEP])) / 3
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_without_learning_the_log_variance_stays_out_of_the_optimizer():
    loss = DiffusionLoss(Affine(), schedule=LINEAR, learn_logvar=False)
    assert [parameter.name for parameter in loss.trainable_params()] == ["denoiser.weight"]


def test_flow_matching_learns_the_velocity_on_the_straight_path():
    path = StraightPath(1000)
    value, simple, bound = DiffusionLoss(Affine(), schedule=path, parameterization="velocity")(
        *_inputs()
    )
    expected = _per_sample(path, TARGETS["velocity"]).mean()
    assert float(simple) == pytest.approx(expected, rel=1e-5)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(bound) == 0


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_a_perfect_prediction_has_no_loss(parameterization):
    loss = DiffusionLoss(
        Oracle(TARGETS[parameterization]), schedule=LINEAR, parameterization=parameterization
    )
    assert float(loss(*_inputs())[0]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_the_variational_weights_are_the_kl_of_the_posteriors(parameterization):
    """An error in the prediction moves the posterior's mean; the KL is its square over 2 v."""
    t = np.array([1, 2, 100, 999])
    step_of_clean = {
        "eps": LINEAR.noise_level[t] / LINEAR.signal[t],
        "x0": np.ones(4),
        "v": LINEAR.noise_level[t],
    }[parameterization]
    mean_shift = LINEAR.posterior_mean_coef1[t] * step_of_clean
    expected = mean_shift**2 / (2 * LINEAR.posterior_variance[t])
    weights = vlb_weights(schedule=LINEAR, parameterization=parameterization)
    # The published table is made in float32, where 1 - abar_1 keeps four digits.
    np.testing.assert_allclose(weights[t], expected, rtol=2e-4)
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("schedule", "parameterization"), [(LINEAR, "v"), (StraightPath(1000), "velocity")]
)
def test_the_loss_of_arrays_equals_the_loss_cell(schedule, parameterization):
    cell = DiffusionLoss(Affine(), schedule=schedule, parameterization=parameterization)
    cell.logvar.set_data(ms.Tensor(LOGVAR))
    clean, noise, step, condition = _inputs()
    noisy = q_sample(schedule=schedule, clean=clean, step=step, noise=noise)
    by_arrays = training_loss(
        schedule=schedule,
        prediction=Affine()(noisy, step, condition),
        clean=clean,
        noise=noise,
        step=step,
        log_variance=ms.Tensor(LOGVAR),
        parameterization=parameterization,
    )
    by_cell = cell(*_inputs())
    np.testing.assert_allclose(
        [float(part) for part in by_arrays], [float(part) for part in by_cell], rtol=1e-6
    )


def test_dropout_keys_reach_the_denoiser():
    loss = DiffusionLoss(Affine(), schedule=LINEAR)
    _, simple, _ = loss(*_inputs(), ms.Tensor([2, 2, 2], ms.int32))
    assert float(simple) == pytest.approx(_per_sample(LINEAR, NOISE, key=2).mean(), rel=1e-5)


def test_a_hidden_condition_is_all_zeros():
    keep = np.array([1, 0, 1], np.float32)
    loss = DiffusionLoss(Affine(), schedule=LINEAR)
    _, simple, _ = loss(*_inputs(), None, ms.Tensor(keep))
    hidden = CONDITION * keep.reshape(-1, 1, 1, 1, 1)
    assert float(simple) == pytest.approx(_per_sample(LINEAR, NOISE, hidden).mean(), rel=1e-5)


def test_the_alignment_loss_compares_each_frame():
    class Reader(nn.Cell):
        def construct(self, noisy, step, dropout_key=None):
            return noisy.mean(axis=(2, 3, 4)).expand_dims(-1)

    intensity = RANDOM.uniform(size=(3, 2, 1)).astype(np.float32)
    loss = AlignmentLoss(Reader(), schedule=LINEAR)
    squared, absolute = loss(*_inputs()[:3], ms.Tensor(intensity))
    noisy = _at(LINEAR.signal) * CLEAN + _at(LINEAR.noise_level) * NOISE
    error = noisy.mean(axis=(2, 3, 4))[..., None] - intensity
    assert float(squared) == pytest.approx((error**2).mean(), rel=1e-5)
    assert float(absolute) == pytest.approx(np.abs(error).mean(), rel=1e-5)


def test_flow_matching_has_no_variational_term():
    with pytest.raises(UserError, match="no variational term"):
        DiffusionLoss(
            Affine(), schedule=StraightPath(), parameterization="velocity", vlb_weight=0.1
        )
