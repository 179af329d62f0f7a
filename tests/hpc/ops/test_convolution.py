"""Both lowerings against a direct numpy convolution, forward and gradient."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from hpc.errors import UserError
from hpc.ops.convolution import Conv2d, Conv3d, convolution_lowering
from hpc.ops.initialization import initialize

ms.set_context(mode=ms.PYNATIVE_MODE)
LOWERINGS = ("native", "columns")


def direct_convolution(x, weight, bias, *, pads, stride):
    """Channels-last convolution by its definition, in float64; pads are (before, after) an axis."""
    spatial = len(pads)
    x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    axes = tuple(range(1, spatial + 1))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axes)
    windows = windows[(slice(None), *(slice(None, None, stride),) * spatial)]
    contracted = list(range(spatial + 1, 2 * spatial + 2))
    return np.tensordot(windows, weight, (contracted, list(range(1, spatial + 2)))) + bias


class WeightedSum(nn.Cell):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def construct(self, x, w):
        return (self.layer(x) * w).sum()


def check_layer(layer, shape, *, pads, stride=1):
    initialize(layer, seed=5)
    random = np.random.RandomState(0)
    x = random.standard_normal(shape).astype(np.float32)
    weight, bias = layer.weight.asnumpy(), layer.bias.asnumpy()
    expected = direct_convolution(x, weight, bias, pads=pads, stride=stride)
    y = layer(ms.Tensor(x))
    np.testing.assert_allclose(y.asnumpy(), expected, atol=2e-6)

    # The layer is linear in x and in its weight: <dL/dx, d> must be the change along d.
    w = random.standard_normal(expected.shape).astype(np.float32)
    gradient = ops.grad(WeightedSum(layer), 0, layer.trainable_params())
    dx, (dweight, dbias) = gradient(ms.Tensor(x), ms.Tensor(w))
    d = random.standard_normal(shape)
    along = direct_convolution(d, weight, 0, pads=pads, stride=stride)
    np.testing.assert_allclose((dx.asnumpy() * d).sum(), (along * w).sum(), rtol=1e-5, atol=1e-4)
    d = random.standard_normal(weight.shape)
    along = direct_convolution(x, d, 0, pads=pads, stride=stride)
    np.testing.assert_allclose(
        (dweight.asnumpy() * d).sum(), (along * w).sum(), rtol=1e-5, atol=1e-3
    )
    np.testing.assert_allclose(dbias.asnumpy(), w.sum(axis=tuple(range(w.ndim - 1))), rtol=1e-4)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [
        (3, 1, "same", (6, 5)),
        (1, 1, "same", (4, 5)),
        (3, 2, (0, 1, 0, 1), (8, 6)),
        (4, 2, (1, 1, 1, 1), (8, 10)),
        (4, 1, (1, 1, 1, 1), (5, 7)),
        (3, 2, (1, 1, 1, 1), (7, 5)),
    ],
)
def test_conv2d_equals_the_direct_sum(lowering, kernel, stride, padding, size):
    layer = Conv2d(3, 4, kernel, stride=stride, padding=padding, lowering=lowering)
    pads = layer.padding
    check_layer(layer, (2, *size, 3), pads=(pads[:2], pads[2:]), stride=stride)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_conv3d_equals_the_direct_sum(lowering, kernel):
    layer = Conv3d(3, 4, kernel, lowering=lowering)
    check_layer(layer, (2, 4, 5, 3, 3), pads=((kernel // 2,) * 2,) * 3)


def test_lowerings_agree_in_graph_mode():
    x = ms.Tensor(np.random.RandomState(1).standard_normal((1, 3, 6, 5, 8)).astype(np.float32))
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        results = []
        for lowering in LOWERINGS:
            layer = Conv3d(8, 8, 3, lowering=lowering)
            initialize(layer, seed=2)
            results.append(layer(x).asnumpy())
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


def test_a_layer_without_bias_has_one_parameter():
    assert [p.name for p in Conv2d(2, 3, 4, padding=(1, 1, 1, 1), has_bias=False).get_parameters()]
    assert len(list(Conv3d(2, 3, 3, has_bias=False).get_parameters())) == 1


def test_uniform_start_fills_the_interval_given_by_the_kernel_volume():
    layer = Conv3d(16, 32, 3)
    initialize(layer, seed=0)
    bound = (16 * 27) ** -0.5
    weight = layer.weight.asnumpy()
    assert bound * 0.99 < np.abs(weight).max() <= bound
    np.testing.assert_allclose(weight.std(), bound / 3**0.5, rtol=0.02)
    assert 0 < np.abs(layer.bias.asnumpy()).max() <= bound


def test_initialization_depends_on_name_and_seed_only():
    def weights(seed, cells):
        initialize(cells, seed=seed)
        return [p.asnumpy().copy() for p in cells.get_parameters()]

    def pair():
        return nn.CellList([Conv2d(2, 2, 1), Conv2d(2, 2, 1)])

    first, again, other = weights(3, pair()), weights(3, pair()), weights(4, pair())
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert not np.array_equal(first[0], first[2])


def test_the_lowering_follows_the_version(monkeypatch):
    monkeypatch.setattr(ms, "__version__", "2.8.0")
    assert convolution_lowering() == "native"
    monkeypatch.setattr(ms, "__version__", "2.10.0")
    assert convolution_lowering() == "columns"


def test_even_kernels_are_refused_where_the_size_must_stay():
    with pytest.raises(UserError, match="odd kernel"):
        Conv2d(2, 2, 4)
    with pytest.raises(UserError, match="odd kernel"):
        Conv3d(2, 2, 2)
