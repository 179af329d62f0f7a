"""Biases and the order of channels are the same with and without the native operators."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from hpc.ops import bias, channel_order
from hpc.ops.bias import AddBias
from hpc.ops.channel_order import ChannelsFirst, ChannelsLast

ms.set_context(mode=ms.GRAPH_MODE)
X = np.random.default_rng(0).standard_normal((2, 3, 5, 7), np.float32)


@pytest.fixture(params=["native", "operations"])
def operators(request, monkeypatch):
    if request.param == "operations":
        for module in (bias, channel_order):
            monkeypatch.setattr(module, "fused_or_none", lambda make: None)


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("shape", [(7,), (2, 7), (1, 7)], ids=["all", "each sample", "one row"])
@pytest.mark.parametrize("dtype", [ms.float32, ms.float16])
def test_a_bias_is_added_to_every_channel_of_every_sample(shape, dtype):
    added = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = AddBias()(Tensor(X, dtype), Tensor(added))
    assert found.dtype == dtype
    expected = X + (added if added.ndim == 1 else added[:, None, None])
    np.testing.assert_allclose(
        found.asnumpy(), expected, atol=1e-6 if dtype == ms.float32 else 0.02
    )


@pytest.mark.usefixtures("operators")
def test_channels_go_to_the_front_and_back():
    first = ChannelsFirst()(Tensor(X))
    np.testing.assert_array_equal(first.asnumpy(), np.moveaxis(X, -1, 1))
    np.testing.assert_array_equal(ChannelsLast()(first).asnumpy(), X)
