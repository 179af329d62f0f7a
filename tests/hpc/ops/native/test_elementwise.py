"""The fused native operators against float64 formulas, in graph and in eager mode."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from scipy.special import erf

from hpc.ops.dropout import KeyedDropout
from hpc.ops.native.elementwise import (
    NativeAddBias,
    NativeBiasGelu,
    NativeChannelsFirst,
    NativeChannelsLast,
    NativeGroupNorm,
    NativeKeyedDropout,
    NativeLayerNorm,
)

RNG = np.random.default_rng(5)


def normal(*shape, offset=0.0):
    return (RNG.normal(size=shape) + offset).astype(np.float32)


def layer_norm(x, gamma, beta, epsilon=1e-5):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * gamma + beta


def group_norm(x, gamma, beta, groups, epsilon, silu):
    grouped = x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
    centred = grouped - grouped.mean((1, 3), keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean((1, 3), keepdims=True) + epsilon)
    u = scaled.reshape(x.shape) * gamma + beta
    return u / (1 + np.exp(-u)) if silu else u


def bias_gelu(x, bias):
    u = x + bias
    return 0.5 * u * (1 + erf(u / np.sqrt(2)))


CASES = {
    "LayerNorm of 256 channels": (
        lambda: NativeLayerNorm(),
        layer_norm,
        (normal(3, 7, 256, offset=3.0), normal(256), normal(256)),
    ),
    "LayerNorm of 37 channels": (
        lambda: NativeLayerNorm(epsilon=1e-3),
        lambda x, g, b: layer_norm(x, g, b, 1e-3),
        (normal(70, 37), normal(37), normal(37)),
    ),
    "a bias": (NativeAddBias, lambda x, b: x + b, (normal(3, 5, 37), normal(37))),
    "a bias of each sample": (
        NativeAddBias,
        lambda x, b: x + b[:, None, None],
        (normal(3, 5, 2, 37), normal(3, 37)),
    ),
    "channels first": (
        NativeChannelsFirst,
        lambda x: np.moveaxis(x, -1, 1),
        (normal(2, 3, 7, 5, 37),),
    ),
    "channels last": (
        NativeChannelsLast,
        lambda x: np.moveaxis(x, 1, -1),
        (normal(2, 37, 3, 7, 5),),
    ),
    "GELU": (lambda: NativeBiasGelu(), bias_gelu, (3 * normal(5, 9, 45), normal(45))),
    "GroupNorm of 32 groups": (
        lambda: NativeGroupNorm(groups=32, epsilon=1e-5),
        lambda x, g, b: group_norm(x, g, b, 32, 1e-5, False),
        (normal(2, 3, 7, 8, 64, offset=10.0), normal(64), normal(64)),
    ),
    "GroupNorm of one channel a group, with SiLU": (
        lambda: NativeGroupNorm(groups=65, epsilon=1e-6, silu=True),
        lambda x, g, b: group_norm(x, g, b, 65, 1e-6, True),
        (normal(2, 11, 13, 65), normal(65), normal(65)),
    ),
}


class WithGradient(nn.Cell):
    def __init__(self, operator):
        super().__init__()
        self.gradient = ops.GradOperation(get_all=True, sens_param=True)
        self.operator = operator

    def construct(self, *operands_and_sensitivity):
        return self.gradient(self.operator)(*operands_and_sensitivity)


def numerical_directional_derivative(function, operands, direction, weights, step=1e-5):
    plus = function(
        *(o.astype(np.float64) + step * d for o, d in zip(operands, direction, strict=True))
    )
    minus = function(
        *(o.astype(np.float64) - step * d for o, d in zip(operands, direction, strict=True))
    )
    return ((plus - minus) * weights).sum() / (2 * step)


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE], ids=["graph", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_match_the_formula(case, mode):
    ms.set_context(mode=mode)
    make, formula, operands = CASES[case]
    operator = make()
    tensors = tuple(Tensor(o) for o in operands)
    value = operator(*tensors).asnumpy()
    expected = formula(*(o.astype(np.float64) for o in operands))
    np.testing.assert_allclose(value, expected, atol=1e-5, rtol=1e-5)

    weights = normal(*expected.shape)
    gradients = WithGradient(operator)(*tensors, Tensor(weights))
    for chosen, gradient in enumerate(gradients):
        assert gradient.shape == operands[chosen].shape
        direction = [np.zeros(o.shape) for o in operands]
        direction[chosen] = RNG.normal(size=operands[chosen].shape)
        analytical = (gradient.asnumpy().astype(np.float64) * direction[chosen]).sum()
        numerical = numerical_directional_derivative(formula, operands, direction, weights)
        scale = np.linalg.norm(gradient.asnumpy()) * np.linalg.norm(direction[chosen]) + 1e-30
        assert abs(analytical - numerical) < 2e-5 * scale + 1e-5 * abs(numerical)


def test_the_error_function_is_exact_to_single_precision():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    x = np.linspace(-6, 6, 20001, dtype=np.float32)[:, None]
    value = NativeBiasGelu()(Tensor(x), Tensor(np.zeros(1, np.float32))).asnumpy()
    error = np.abs(value - bias_gelu(x.astype(np.float64), 0.0))
    assert (error / np.maximum(1, np.abs(x))).max() < 3e-7


@pytest.mark.parametrize("shape", [(3, 5, 7, 40), (2, 33), (1, 4, 2, 13, 13)])
def test_the_dropout_mask_is_that_of_keyed_dropout_bit_for_bit(shape):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    reference = KeyedDropout(0.3)
    reference.set_train()
    reference.layer = -123456789
    key = Tensor(RNG.integers(-(2**31), 2**31, shape[0]).astype(np.int32))
    x = Tensor(normal(*shape))
    expected = (x * reference.factor(key, shape[1:])).asnumpy()
    start = ops.bitwise_xor(key, reference.layer)
    operator = NativeKeyedDropout(p=0.3)
    np.testing.assert_array_equal(operator(x, start).asnumpy(), expected)

    ms.set_context(mode=ms.GRAPH_MODE)
    dout = normal(*shape)
    gradient = WithGradient(operator)(x, start, Tensor(dout))[0].asnumpy()
    np.testing.assert_array_equal(gradient != 0, expected != 0)
    np.testing.assert_allclose(gradient[gradient != 0], dout[gradient != 0] / 0.7, rtol=1e-6)
