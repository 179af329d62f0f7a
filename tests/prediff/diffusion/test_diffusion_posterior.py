import diffusion_fixture as fixture
import mindspore as ms
import numpy as np
import pytest
from diffusion_fixture import KEPT, REFERENCE
from posterior_oracle import posterior_mean, posterior_step, q_sample

from hpc.errors import UserError
from prediff.diffusion import (
    StraightPath,
    convert_prediction,
    noise_schedule,
    predict_clean,
)
from prediff.diffusion.parameterization import clean_weights

LINEAR = noise_schedule(name="linear")
AT_500 = ms.Tensor([500, 500], ms.int32)


def _kept(array: np.ndarray) -> ms.Tensor:
    return ms.Tensor(np.ascontiguousarray(array[KEPT]))


def _reference_eps_at_500() -> np.ndarray:
    """The network's output that the stored estimate of x_0 stands for, in float64."""
    noisy = fixture.noisy()[KEPT].astype(np.float64)
    clean = REFERENCE["x0_recon.t500"].astype(np.float64)
    return (noisy - LINEAR.signal[500] * clean) / LINEAR.noise_level[500]


def _at_500() -> dict:
    return {
        "schedule": LINEAR,
        "noisy": _kept(fixture.noisy()),
        "step": AT_500,
        "prediction": ms.Tensor(_reference_eps_at_500().astype(np.float32)),
    }


def test_q_sample_equals_the_reference():
    sample = q_sample(
        schedule=LINEAR,
        clean=_kept(fixture.clean()),
        step=ms.Tensor(fixture.T),
        noise=_kept(fixture.noise()),
    )
    np.testing.assert_allclose(sample.asnumpy(), REFERENCE["q_sample"], atol=1e-6)


def test_the_posterior_mean_equals_the_reference():
    mean = posterior_mean(**_at_500()).asnumpy()
    np.testing.assert_allclose(mean, REFERENCE["p_mean.t500"], atol=1e-5)


def test_one_ancestral_step_equals_the_reference():
    sample = posterior_step(**_at_500(), noise=_kept(fixture.normals(20)))
    np.testing.assert_allclose(sample.asnumpy(), REFERENCE["p_sample.t500"], atol=1e-5)


def test_one_guided_step_equals_the_reference_and_is_not_the_plain_one():
    gradient = ms.Tensor(REFERENCE["align.grad_t500"])
    guided = posterior_step(
        **_at_500(), noise=_kept(fixture.normals(20)), guidance_gradient=gradient
    ).asnumpy()
    np.testing.assert_allclose(guided, REFERENCE["p_sample_aligned.t500"], atol=1e-5)
    plain = posterior_step(**_at_500(), noise=_kept(fixture.normals(20))).asnumpy()
    shift = np.exp(0.5 * LINEAR.posterior_log_variance_clipped[500])
    np.testing.assert_allclose(plain - guided, shift * gradient.asnumpy(), atol=1e-6)


def test_the_last_step_adds_no_noise():
    noisy = _kept(fixture.noisy())
    prediction = _kept(fixture.clean())
    arguments = {
        "schedule": LINEAR,
        "noisy": noisy,
        "step": ms.Tensor([0, 1], ms.int32),
        "prediction": prediction,
    }
    loud = posterior_step(**arguments, noise=1000 * ms.ops.ones_like(noisy)).asnumpy()
    mean = posterior_mean(**arguments).asnumpy()
    np.testing.assert_array_equal(loud[0], mean[0])
    assert np.abs(loud[1] - mean[1]).min() > 1


def _point(path, t: np.ndarray) -> dict[str, np.ndarray]:
    """x_0, noise, x_t and everything a network may predict there, from the definitions."""
    random = np.random.RandomState(5)
    clean, noise = random.standard_normal((2, len(t), 3, 4))
    signal, level = path.signal[t][:, None, None], path.noise_level[t][:, None, None]
    return {
        "clean": clean,
        "noisy": signal * clean + level * noise,
        "eps": noise,
        "x0": clean,
        "v": signal * noise - level * clean,
        "velocity": noise - clean,
    }


NAMES = {LINEAR: ("eps", "x0", "v"), StraightPath(1000): ("velocity", "x0")}
PAIRS = [(path, a, b) for path, names in NAMES.items() for a in names for b in names]


@pytest.mark.parametrize(("path", "source", "target"), PAIRS)
def test_predictions_convert_into_each_other(path, source, target):
    t = np.array([40, 500, 900], np.int32)
    point = _point(path, t)
    arguments = {
        "path": path,
        "noisy": ms.Tensor(point["noisy"].astype(np.float32)),
        "step": ms.Tensor(t),
        "prediction": ms.Tensor(point[source].astype(np.float32)),
    }
    converted = convert_prediction(**arguments, source=source, target=target).asnumpy()
    np.testing.assert_allclose(converted, point[target], atol=2e-5)
    clean = predict_clean(**arguments, parameterization=source).asnumpy()
    np.testing.assert_allclose(clean, point["clean"], atol=2e-5)


@pytest.mark.parametrize(
    ("path", "name"),
    [(LINEAR, "velocity"), (LINEAR, "epsilon"), (StraightPath(), "eps"), (StraightPath(), "v")],
)
def test_a_prediction_that_means_nothing_on_a_path_is_refused(path, name):
    with pytest.raises(UserError, match=name):
        clean_weights(path=path, parameterization=name)
