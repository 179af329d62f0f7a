"""Group and layer normalisation against their definitions."""

import mindspore as ms
import numpy as np
import pytest

from hpc.errors import UserError
from hpc.ops.normalization import GroupNorm, LayerNorm

ms.set_context(mode=ms.PYNATIVE_MODE)


def with_random_parameters(layer, channels):
    random = np.random.RandomState(3)
    scale, shift = random.standard_normal((2, channels)).astype(np.float32)
    layer.weight.set_data(ms.Tensor(scale))
    layer.bias.set_data(ms.Tensor(shift))
    return scale, shift


@pytest.mark.parametrize(
    ("shape", "groups"), [((2, 3, 4, 5, 12), 4), ((3, 7, 6), 6), ((1, 4, 4, 8), 1)]
)
def test_group_norm_of_any_rank_equals_the_definition(shape, groups):
    channels = shape[-1]
    layer = GroupNorm(groups, channels, 1e-6)
    scale, shift = with_random_parameters(layer, channels)
    x = (3 + 2 * np.random.RandomState(0).standard_normal(shape)).astype(np.float32)
    y = x.astype(np.float64).reshape(shape[0], -1, groups, channels // groups)
    y = (y - y.mean((1, 3), keepdims=True)) / np.sqrt(y.var((1, 3), keepdims=True) + 1e-6)
    expected = y.reshape(shape) * scale + shift
    np.testing.assert_allclose(layer(ms.Tensor(x)).asnumpy(), expected, atol=1e-5)


def test_layer_norm_equals_the_definition():
    layer = LayerNorm(10)
    scale, shift = with_random_parameters(layer, 10)
    x = np.random.RandomState(0).standard_normal((2, 3, 10)).astype(np.float32)
    y = x.astype(np.float64)
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(ms.Tensor(x)).asnumpy(), y * scale + shift, atol=1e-5)


def test_half_precision_input_gives_float32_statistics():
    x = ms.Tensor(np.random.RandomState(0).standard_normal((1, 5, 8)).astype(np.float16))
    assert LayerNorm(8)(x).dtype == ms.float32
    assert GroupNorm(2, 8, 1e-5)(x).dtype == ms.float32


def test_channels_that_do_not_divide_into_groups_are_refused():
    with pytest.raises(UserError, match="65 channels do not divide into 32 groups"):
        GroupNorm(32, 65, 1e-5)
