"""The discriminator against its definition, written out in numpy."""

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from prediff.models.discriminator import BatchNorm, PatchDiscriminator

ms.set_context(mode=ms.GRAPH_MODE)


def convolve(x, weight, stride):
    """4x4 convolution with padding 1 of `[N,H,W,C]` by `[C_out,C,4,4]`."""
    grown = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(grown, (4, 4), (1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,ocij->nhwo", windows, weight)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def normalize(x, weight, bias):
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def scores(parameters, x):
    p = {name: value.asnumpy().astype(np.float64) for name, value in parameters}
    x = leaky(convolve(x, p["conv_in.weight"], 2) + p["conv_in.bias"])
    for i, stride in enumerate((2, 2, 1)):
        x = convolve(x, p[f"convs.{i}.weight"], stride)
        x = leaky(normalize(x, p[f"norms.{i}.weight"], p[f"norms.{i}.bias"]))
    return convolve(x, p["conv_out.weight"], 1) + p["conv_out.bias"]


def perturbed(discriminator):
    """Give every parameter a value of order one, so that no term of the formula can hide."""
    random = np.random.RandomState(7)
    for _, parameter in discriminator.parameters_and_names():
        noise = random.standard_normal(parameter.shape) / np.prod(parameter.shape[1:]) ** 0.5
        parameter.set_data(ms.Tensor((parameter.asnumpy() + noise).astype(np.float32)))
    return discriminator


def test_scores_of_patches_follow_the_definition():
    discriminator = perturbed(PatchDiscriminator(base_width=4, frame_channels=2))
    frames = np.random.RandomState(0).rand(3, 32, 24, 2).astype(np.float32)
    found = discriminator(ms.Tensor(frames)).asnumpy()
    assert found.shape == (3, 2, 1, 1)
    expected = scores(discriminator.parameters_and_names(), frames.astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_published_discriminator_has_four_widths_and_biases_only_without_norm():
    shapes = {n: p.shape for n, p in PatchDiscriminator().parameters_and_names()}
    weights = {n: s for n, s in shapes.items() if "conv" in n}
    assert weights == {
        "conv_in.weight": (64, 1, 4, 4),
        "conv_in.bias": (64,),
        "convs.0.weight": (128, 64, 4, 4),
        "convs.1.weight": (256, 128, 4, 4),
        "convs.2.weight": (512, 256, 4, 4),
        "conv_out.weight": (1, 512, 4, 4),
        "conv_out.bias": (1,),
    }


def test_starting_weights_have_the_published_spread():
    discriminator = PatchDiscriminator(seed=1)
    assert abs(discriminator.convs[1].weight.asnumpy().std() / 0.02 - 1) < 0.02
    scale = discriminator.norms[2].weight.asnumpy()
    assert abs(scale.mean() - 1) < 0.005
    assert abs(scale.std() / 0.02 - 1) < 0.2


class MeanWithOther(nn.Cell):
    """Averages with the moments of another rank that holds the frames `other`."""

    def __init__(self, other):
        super().__init__()
        self.other = ms.Tensor(np.stack([other.mean((0, 1, 2)), (other**2).mean((0, 1, 2))]))

    def construct(self, moments):
        return 0.5 * (moments + self.other)


def test_synchronised_statistics_are_those_of_the_global_batch():
    whole = np.random.RandomState(1).standard_normal((4, 5, 6, 3)).astype(np.float32)
    whole[2:] += 2  # the ranks' own means differ
    norm = BatchNorm(3, reduce_mean=MeanWithOther(whole[2:]))
    expected = BatchNorm(3)(ms.Tensor(whole)).asnumpy()
    found = norm(ms.Tensor(whole[:2].copy())).asnumpy()
    np.testing.assert_allclose(found, expected[:2], atol=1e-5)
    np.testing.assert_allclose(expected, normalize(whole, 1.0, 0.0), atol=1e-5)


def test_gradients_flow_through_the_batch_statistics():
    x = np.random.RandomState(2).standard_normal((2, 2, 2, 3)).astype(np.float32)
    factor = np.random.RandomState(3).standard_normal(x.shape)

    class Loss(nn.Cell):
        def __init__(self):
            super().__init__()
            self.norm = BatchNorm(3)
            self.factor = ms.Tensor(factor.astype(np.float32))

        def construct(self, frames):
            return (self.norm(frames) * self.factor).sum()

    gradient = ops.grad(Loss())(ms.Tensor(x)).asnumpy()

    def loss(values):
        return (normalize(values, 1.0, 0.0) * factor).sum()

    for index in [(0, 0, 0, 0), (1, 0, 1, 1), (1, 1, 1, 2)]:
        step = np.zeros(x.shape)
        step[index] = 1e-5
        expected = (loss(x + step) - loss(x - step)) / 2e-5
        np.testing.assert_allclose(gradient[index], expected, atol=1e-4)
