"""Keyed dropout: its statistics, what its masks depend on, and its gradient."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from hpc.errors import UserError
from hpc.ops.dropout import KeyedDropout, name_dropout_layers

ms.set_context(mode=ms.PYNATIVE_MODE)


def mask(keys, shape, *, p=0.1, layer=77):
    """Boolean `[B, *shape]`, True where an element was dropped."""
    cell = KeyedDropout(p)
    cell.layer = layer
    cell.set_train()
    keys = ms.Tensor(np.array(keys, np.int32))
    factor = cell.factor(keys, shape).asnumpy()
    cell.fused = None
    np.testing.assert_array_equal(cell.factor(keys, shape).asnumpy(), factor)
    kept = np.unique(factor[factor > 0])
    np.testing.assert_allclose(kept, [1 / (1 - p)], rtol=1e-6)
    return factor == 0


def standardized(dropped, p):
    return (dropped - p) / np.sqrt(p * (1 - p))


def test_the_hash_is_what_the_docstring_says():
    key, layer, p, shape = -1234567, 99, 0.3, (5, 4, 7)
    rows, columns = 20, 7

    def wrapped(x):
        return (x + 2**31) % 2**32 - 2**31

    def mixed(x):
        x = wrapped((x ^ (x >> 16)) * 0x7FEB352D)
        return wrapped((x ^ (x >> 15)) * 0x846CA68B)

    numbers = [
        mixed(wrapped((key ^ layer) + wrapped(n * 0x9E3779B9)))
        for n in range(1, rows + columns + 1)
    ]
    bits = [[wrapped((r | 1) * c) for c in numbers[rows:]] for r in numbers[:rows]]
    expected = np.array(bits).reshape(shape) < p * 2**32 - 2**31
    np.testing.assert_array_equal(mask([key], shape, p=p, layer=layer)[0], expected)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_masks_look_independent_along_rows_columns_samples_and_layers(p):
    shape = (4, 128, 64)
    keys = [0, 1, 2, -5]
    a = standardized(mask(keys, shape, p=p), p).reshape(4, 512, 64)
    b = standardized(mask(keys, shape, p=p, layer=78), p).reshape(4, 512, 64)

    def sigmas(products):
        return products.mean() * np.sqrt(products.size)

    checks = {
        "share": sigmas(a),
        "layers": sigmas(a * b),
        "samples": sigmas(a[:-1] * a[1:]),
        "next row": sigmas(a[:, :-1] * a[:, 1:]),
        "next column": sigmas(a[..., :-1] * a[..., 1:]),
        "corners": sigmas(a[:, :-3, :-2] * a[:, 3:, :-2] * a[:, :-3, 2:] * a[:, 3:, 2:]),
        "corners over layers": sigmas(
            a[:, :-1, :-1] * a[:, 1:, 1:] * b[:, :-1, 1:] * b[:, 1:, :-1]
        ),
    }
    assert max(map(abs, checks.values())) < 4.5, checks
    # No row or column is dropped more often than chance allows.
    assert np.abs(a.mean(2) * np.sqrt(64)).max() < 7
    assert np.abs(a.mean(1) * np.sqrt(512)).max() < 5
    assert np.abs(np.corrcoef(a[0].T)[np.triu_indices(64, 1)]).max() * np.sqrt(512) < 6


def test_a_samples_mask_does_not_depend_on_its_batch():
    together = mask([5, -7, 9], (6, 8))
    for i, key in enumerate([5, -7, 9]):
        np.testing.assert_array_equal(mask([key], (6, 8))[0], together[i])


def test_nothing_is_dropped_without_training_without_key_or_at_zero():
    x = ms.Tensor(np.ones((2, 3, 4), np.float32))
    key = ms.Tensor(np.array([1, 2], np.int32))
    cell = KeyedDropout(0.5)
    assert cell(x, key) is x
    cell.set_train()
    assert cell(x, None) is x
    assert (cell(x, key).asnumpy() == 0).any()
    zero = KeyedDropout(0.0)
    zero.set_train()
    assert zero(x, key) is x


class Total(nn.Cell):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell
        self.gradient = ops.grad(self.total, 0)

    def total(self, x, key):
        return (self.cell(x, key) * x).sum()

    def construct(self, x, key):
        return self.cell(x, key), self.gradient(x, key)


@pytest.mark.parametrize("dtype", [ms.float32, ms.float16])
def test_compiled_forward_and_gradient_use_the_mask(dtype):
    cell = KeyedDropout(0.25)
    cell.layer = 77
    network = Total(cell)
    network.set_train()
    values = np.random.RandomState(0).uniform(1, 2, (2, 5, 3, 8)).astype(np.float32)
    x = ms.Tensor(values).astype(dtype)
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        y, gradient = network(x, ms.Tensor(np.array([3, 4], np.int32)))
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
    assert y.dtype == gradient.dtype == dtype
    factor = ~mask([3, 4], (5, 3, 8), p=0.25) / 0.75
    tolerance = {"rtol": 1e-5 if dtype == ms.float32 else 2e-3}
    np.testing.assert_allclose(y.asnumpy(), values * factor, **tolerance)
    np.testing.assert_allclose(gradient.asnumpy(), 2 * values * factor, **tolerance)


def test_layers_of_a_network_get_the_numbers_of_their_names():
    def network():
        return nn.SequentialCell([KeyedDropout(0.1), KeyedDropout(0.1), nn.ReLU()])

    first, second = network(), network()
    for cell in (first, second):
        name_dropout_layers(cell)
    assert first[0].layer != first[1].layer
    assert (first[0].layer, first[1].layer) == (second[0].layer, second[1].layer)


@pytest.mark.parametrize("p", [-0.1, 1.0, 2])
def test_probabilities_that_cannot_be_are_refused(p):
    with pytest.raises(UserError, match="dropout probability"):
        KeyedDropout(p)
