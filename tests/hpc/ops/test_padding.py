"""Zeros around an array, and gradients through them when a graph runs again."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from hpc.ops.convolution import Conv2d, Conv3d
from hpc.ops.padding import pad_with_zeros

ms.set_context(mode=ms.GRAPH_MODE)
MARGINS = ((0, 0), (1, 2), (0, 3))


class Pad(nn.Cell):
    def construct(self, x):
        return pad_with_zeros(x, MARGINS)


class SumOfSquares(nn.Cell):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def construct(self, x):
        return ops.square(self.layer(x)).sum()


class Gradient(nn.Cell):
    def __init__(self, layer):
        super().__init__()
        self.run = ops.grad(SumOfSquares(layer))

    def construct(self, x):
        return self.run(x)


def normal(*shape):
    return np.random.RandomState(0).standard_normal(shape).astype(np.float32)


def test_zeros_surround_the_array():
    x = normal(2, 3, 4)
    np.testing.assert_array_equal(Pad()(ms.Tensor(x)).asnumpy(), np.pad(x, MARGINS))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Pad(), (8, 64, 64)),
        (Conv2d(4, 3, 3, lowering="columns"), (2, 24, 24, 4)),
        (Conv2d(4, 3, 4, stride=2, padding=(1, 1, 1, 1), lowering="columns"), (2, 23, 23, 4)),
        (Conv3d(4, 3, 3, lowering="columns"), (1, 3, 12, 12, 4)),
    ],
)
def test_a_graph_that_runs_again_has_the_gradient_of_the_first_time(layer, shape):
    for parameter in layer.trainable_params():
        parameter.set_data(ms.Tensor(normal(*parameter.shape)))
    gradient, x = Gradient(layer), ms.Tensor(normal(*shape))
    first = gradient(x).asnumpy().copy()
    if isinstance(layer, Pad):
        np.testing.assert_allclose(first, 2 * x.asnumpy(), rtol=1e-6)
    for _ in range(4):
        np.testing.assert_array_equal(gradient(x).asnumpy(), first)
