"""The adversarial losses against their definitions, by the framework's own gradients."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from prediff.models.adversarial_loss import DiscriminatorLoss, GeneratorLoss
from prediff.models.autoencoder import Autoencoder
from prediff.models.discriminator import PatchDiscriminator
from prediff.models.reconstruction_loss import ReconstructionLoss, kl_divergence

KL_WEIGHT = 0.01
ms.set_context(mode=ms.GRAPH_MODE)


class L1(nn.Cell):
    def __init__(self, autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def construct(self, frames, noise):
        reconstruction = self.autoencoder(frames, noise)[0]
        return ops.abs(frames - reconstruction).sum() / frames.shape[0]


class Adversary(nn.Cell):
    def __init__(self, autoencoder, discriminator):
        super().__init__()
        self.autoencoder, self.discriminator = autoencoder, discriminator

    def construct(self, frames, noise):
        return -self.discriminator(self.autoencoder(frames, noise)[0]).mean()


class PlainGeneratorLoss(nn.Cell):
    """The definition, with the adaptive weight given."""

    def __init__(self, autoencoder, discriminator):
        super().__init__()
        self.autoencoder, self.discriminator = autoencoder, discriminator

    def construct(self, frames, noise, weight):
        reconstruction, mean, logvar = self.autoencoder(frames, noise)
        error = ops.abs(frames - reconstruction).sum() / frames.shape[0]
        score = -self.discriminator(reconstruction).mean()
        return error + KL_WEIGHT * kl_divergence(mean, logvar).mean() + weight * score


class Step(nn.Cell):
    """A loss and its gradients in one graph, as a training step has them.

    (Outside a Cell, MindSpore bakes the weights that are not differentiated into the graph.)
    """

    def __init__(self, loss, parameters, *, parts):
        super().__init__()
        self.loss = loss
        self.run = ops.value_and_grad(loss, None, ms.ParameterTuple(parameters), has_aux=parts)

    def construct(self, *arguments):
        return self.run(*arguments)


def gradient(loss, parameters, *arguments):
    return Step(loss, parameters, parts=False)(*arguments)


@pytest.fixture(scope="module")
def setting():
    sizes = {"latent_channels": 2, "widths": (8, 8), "norm_groups": 4, "layers_per_block": 1}
    autoencoder = Autoencoder(frame_channels=2, seed=1, **sizes)
    discriminator = PatchDiscriminator(base_width=4, frame_channels=2, seed=2)
    random = np.random.RandomState(0)
    frames = ms.Tensor(random.rand(3, 24, 24, 2).astype(np.float32))
    noise = ms.Tensor(random.standard_normal((3, 12, 12, 2)).astype(np.float32))
    return autoencoder, discriminator, frames, noise


@pytest.fixture(scope="module")
def generator_step(setting):
    """Loss parts and gradients of all the autoencoder's weights, as a training step makes them."""
    autoencoder, discriminator, frames, noise = setting
    cell = GeneratorLoss(autoencoder, discriminator, kl_weight=KL_WEIGHT)
    step = Step(cell, autoencoder.trainable_params(), parts=True)

    def run(adversarial_weight):
        return step(frames, noise, ms.ops.full((3,), adversarial_weight))

    return run


@pytest.fixture(scope="module")
def discriminator_step(setting):
    """Loss parts and gradients of the discriminator's weights and of one of the autoencoder's."""
    autoencoder, discriminator, frames, noise = setting
    cell = DiscriminatorLoss(autoencoder, discriminator)
    parameters = [*discriminator.trainable_params(), autoencoder.decoder.conv_out.weight]
    step = Step(cell, parameters, parts=True)

    def run(adversarial_weight):
        return step(frames, noise, ms.ops.full((3,), adversarial_weight))

    return run


def test_adaptive_weight_is_the_ratio_of_gradient_norms_at_the_last_convolution(
    setting, generator_step
):
    autoencoder, discriminator, frames, noise = setting
    last = [autoencoder.decoder.conv_out.weight]
    _, (of_error,) = gradient(L1(autoencoder), last, frames, noise)
    score, (of_score,) = gradient(Adversary(autoencoder, discriminator), last, frames, noise)
    norm_error, norm_score = (np.linalg.norm(g.asnumpy()) for g in (of_error, of_score))
    (_, _, _, found_score, weight), _ = generator_step(1.0)
    np.testing.assert_allclose(float(found_score), float(score), rtol=1e-4)
    np.testing.assert_allclose(float(weight), 0.5 * norm_error / (norm_score + 1e-4), rtol=1e-3)


def test_generator_gradients_equal_those_of_the_definition_with_the_weight_held(
    setting, generator_step
):
    autoencoder, discriminator, frames, noise = setting
    (loss, _, _, _, weight), found = generator_step(1.0)
    parameters = autoencoder.trainable_params()
    plain = PlainGeneratorLoss(autoencoder, discriminator)
    expected_loss, expected = gradient(plain, parameters, frames, noise, weight)
    np.testing.assert_allclose(float(loss), float(expected_loss), rtol=1e-5)
    scale = max(np.abs(g.asnumpy()).max() for g in expected)
    for parameter, a, b in zip(parameters, found, expected, strict=True):
        np.testing.assert_allclose(
            a.asnumpy(), b.asnumpy(), atol=1e-4 * scale, err_msg=parameter.name
        )


def test_before_the_start_step_the_adversary_has_no_effect(
    setting, generator_step, discriminator_step
):
    autoencoder, _, frames, noise = setting
    (loss, error, kl, _, _), found = generator_step(0.0)
    expected = float(error) * frames.size / frames.shape[0] + KL_WEIGHT * float(kl)
    np.testing.assert_allclose(float(loss), expected, rtol=1e-5)
    plain = ReconstructionLoss(autoencoder, kl_weight=KL_WEIGHT)
    _, without = Step(plain, autoencoder.trainable_params(), parts=True)(frames, noise)
    for a, b in zip(found, without, strict=True):
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=1e-4, atol=1e-3)
    (hinge, _, _), gradients = discriminator_step(0.0)
    assert float(hinge) == 0
    assert all(np.abs(g.asnumpy()).max() == 0 for g in gradients)


def test_a_flat_discriminator_meets_the_largest_ratio(setting, generator_step):
    _, discriminator, _, _ = setting
    weight = discriminator.conv_out.weight
    kept = weight.asnumpy().copy()
    weight.set_data(ms.Tensor(np.zeros_like(kept)))
    try:
        assert float(generator_step(1.0)[0][-1]) == 0.5 * 1e4
    finally:
        weight.set_data(ms.Tensor(kept))


def test_discriminator_loss_is_the_hinge_and_moves_only_the_discriminator(
    setting, discriminator_step
):
    autoencoder, discriminator, frames, noise = setting
    (loss, *means), gradients = discriminator_step(1.0)
    real = discriminator(frames).asnumpy()
    made = discriminator(autoencoder(frames, noise)[0]).asnumpy()
    hinge = 0.5 * (np.maximum(1 - real, 0).mean() + np.maximum(1 + made, 0).mean())
    np.testing.assert_allclose(float(loss), hinge, rtol=1e-5)
    np.testing.assert_allclose([float(m) for m in means], [real.mean(), made.mean()], atol=1e-6)
    norms = [np.abs(g.asnumpy()).max() for g in gradients]
    *others, last_bias, of_autoencoder = norms
    assert min(others) > 0
    assert last_bias < 1e-6  # shifts all scores alike: the two terms of the hinge cancel
    assert of_autoencoder == 0


def test_the_generator_loss_trains_the_autoencoder_only(setting):
    autoencoder, discriminator, _, _ = setting
    trained = GeneratorLoss(autoencoder, discriminator).trainable_params()
    assert {id(p) for p in trained} == {id(p) for p in autoencoder.trainable_params()}
