"""The small published configuration, networks included, against the PyTorch code."""

from functools import cache

import diffusion_fixture as fixture
import mindspore as ms
import numpy as np
import pytest
from diffusion_fixture import KEPT, REFERENCE
from posterior_oracle import posterior_mean, posterior_step, q_sample, training_loss
from reference_weights import reference_weights

from prediff.convert.parameter_names import reference_entries
from prediff.convert.reference import load_reference
from prediff.diffusion import (
    AlignmentLoss,
    GuidanceGradient,
    Sampler,
    noise_schedule,
    predict_clean,
)
from prediff.models.alignment_network import AlignmentNetwork
from prediff.models.earthformer_unet import EarthformerUNet

pytestmark = pytest.mark.slow

LINEAR = noise_schedule(name="linear")
LATENTS = {"height": 16, "width": 16, "latent_channels": 8, "base_width": 32, "num_heads": 4}
CHAIN = int(REFERENCE["chain_len"])
TARGET = REFERENCE["avg_x_gt"]


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    ms.set_context(mode=ms.GRAPH_MODE)


def _with_reference_weights(network, prefix: str):
    shapes = {name: entry.reference_shape for name, entry in reference_entries(network).items()}
    load_reference(network, reference_weights(prefix, shapes))
    network.set_train(False)
    return network


@cache
def _denoiser() -> EarthformerUNet:
    network = EarthformerUNet(context_length=4, forecast_length=3, depths=[2, 2], **LATENTS)
    return _with_reference_weights(network, "unet.")


@cache
def _alignment() -> AlignmentNetwork:
    network = AlignmentNetwork(forecast_length=3, depths=[1, 1], **LATENTS)
    return _with_reference_weights(network, "align.")


@cache
def _gradient() -> GuidanceGradient:
    return GuidanceGradient(_alignment(), coupling="reference")


def _step(t: int) -> ms.Tensor:
    return ms.Tensor([t, t], ms.int32)


def _assert_equal(tensor: ms.Tensor, name: str) -> None:
    expected = REFERENCE[name]
    difference = np.abs(tensor.asnumpy()[KEPT] - expected).max()
    assert difference < 1e-4 * np.abs(expected).max(), name


@pytest.mark.parametrize(("name", "t"), [("grad_t", fixture.T), ("grad_t500", [500, 500])])
def test_the_guidance_gradient_equals_the_reference(name, t):
    gradient = _gradient()(
        ms.Tensor(fixture.noisy()), ms.Tensor(np.asarray(t, np.int32)), ms.Tensor(TARGET)
    )
    assert np.abs(REFERENCE[f"align.{name}"]).max() > 0.01
    _assert_equal(gradient, f"align.{name}")


def test_one_step_from_the_network_equals_the_reference():
    noisy, condition = ms.Tensor(fixture.noisy()), ms.Tensor(fixture.condition())
    noise = ms.Tensor(fixture.normals(20))
    at = {t: {"noisy": noisy, "step": _step(t)} for t in (0, 500)}
    for t, point in at.items():
        point["prediction"] = _denoiser()(noisy, _step(t), condition)
    _assert_equal(predict_clean(path=LINEAR, **at[500]), "x0_recon.t500")
    _assert_equal(posterior_mean(schedule=LINEAR, **at[500]), "p_mean.t500")
    _assert_equal(posterior_step(schedule=LINEAR, noise=noise, **at[500]), "p_sample.t500")
    _assert_equal(posterior_step(schedule=LINEAR, noise=noise, **at[0]), "p_sample.t0")


@pytest.mark.parametrize("guided", [False, True])
def test_the_first_steps_of_the_full_chain_equal_the_reference(guided):
    draws = np.random.RandomState(21)
    noisy, condition = ms.Tensor(fixture.noisy()), ms.Tensor(fixture.condition())
    for t in range(999, 999 - CHAIN, -1):
        gradient = _gradient()(noisy, _step(t), ms.Tensor(TARGET)) if guided else None
        noisy = posterior_step(
            schedule=LINEAR,
            noisy=noisy,
            step=_step(t),
            prediction=_denoiser()(noisy, _step(t), condition),
            noise=ms.Tensor(draws.standard_normal(fixture.SHAPE).astype(np.float32)),
            guidance_gradient=gradient,
        )
    _assert_equal(noisy, "chain.top_aligned" if guided else "chain.top")


def test_the_sampler_equals_the_reference_from_a_truncated_start():
    draws = np.random.RandomState(22)

    def noise(number: int) -> np.ndarray:
        if number == 0:
            return fixture.noisy()
        return draws.standard_normal(fixture.SHAPE).astype(np.float32)

    latents = Sampler(_denoiser(), schedule=LINEAR).sample(
        noise=noise,
        condition=ms.Tensor(fixture.condition()),
        steps=CHAIN,
        solver="ddpm_truncated",
    )
    _assert_equal(latents, "chain.last")


def test_the_training_loss_equals_the_reference():
    clean, noise, step = (
        ms.Tensor(array) for array in (fixture.clean(), fixture.noise(), fixture.T)
    )
    noisy = q_sample(schedule=LINEAR, clean=clean, step=step, noise=noise)
    parts = training_loss(
        schedule=LINEAR,
        prediction=_denoiser()(noisy, step, ms.Tensor(fixture.condition())),
        clean=clean,
        noise=noise,
        step=step,
        log_variance=ms.Tensor(fixture.log_variance()),
    )
    expected = [REFERENCE[name] for name in ("loss", "loss_simple", "loss_vlb")]
    np.testing.assert_allclose([float(part) for part in parts], expected, rtol=1e-4)


def test_the_alignment_loss_equals_the_reference():
    loss = AlignmentLoss(_alignment(), schedule=LINEAR)
    squared, _ = loss(
        ms.Tensor(fixture.clean()),
        ms.Tensor(fixture.noise()),
        ms.Tensor(fixture.T),
        ms.Tensor(REFERENCE["align.target"]),
    )
    assert float(squared) == pytest.approx(float(REFERENCE["align.train_loss"]), rel=1e-4)
