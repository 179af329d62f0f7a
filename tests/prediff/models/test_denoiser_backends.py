"""The denoiser gives the same output and gradients with every backend of its attention."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from hpc.ops.cuboid_attention.op import CuboidAttention
from prediff.models.earthformer_unet import EarthformerUNet

ms.set_context(mode=ms.PYNATIVE_MODE)

# Heads of 16 and 32, which the fused operators take; small enough for the emulated one.
TINY = {
    "context_length": 2,
    "forecast_length": 3,
    "height": 4,
    "width": 6,
    "latent_channels": 3,
    "base_width": 32,
    "depths": [1, 1],
    "num_heads": 2,
}


class Loss(nn.Cell):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def construct(self, noisy, step, condition):
        return (self.network(noisy, step, condition) - noisy).square().mean()


def made_with(backend, weights):
    network = EarthformerUNet(**TINY, backend=backend)
    for name, parameter in network.parameters_and_names():
        parameter.set_data(ms.Tensor(weights(name, parameter.shape), parameter.dtype))
    return network


def seeded(name, shape):
    rng = np.random.default_rng(sum(map(ord, name)))
    return rng.normal(size=shape).astype(np.float32) / max(1, shape[-1] if shape else 1) ** 0.5


def output_and_gradients(backend):
    rng = np.random.default_rng(0)
    noisy, condition = (
        ms.Tensor(rng.normal(size=(1, frames, 4, 6, 3)).astype(np.float32)) for frames in (3, 2)
    )
    step = ms.Tensor(np.array([7], np.int32))
    network = made_with(backend, seeded)
    loss = Loss(network)
    output = network(noisy, step, condition).asnumpy()
    _, gradients = ops.value_and_grad(loss, None, loss.trainable_params())(noisy, step, condition)
    cells = (cell for _, cell in network.cells_and_names())
    in_use = {cell.backend for cell in cells if type(cell) is CuboidAttention}
    return output, [gradient.asnumpy() for gradient in gradients], in_use


@pytest.fixture(scope="module")
def expected():
    return output_and_gradients("reference")


@pytest.mark.usefixtures("emulated_backend")
@pytest.mark.parametrize("backend", ["native", "emulated"])
def test_a_fused_attention_changes_neither_output_nor_gradients(backend, expected):
    output, gradients, in_use = output_and_gradients(backend)
    assert in_use == {backend}
    scale = np.abs(expected[0]).max()
    np.testing.assert_allclose(output, expected[0], atol=1e-5 * scale)
    for value, wanted in zip(gradients, expected[1], strict=True):
        # Where the exact gradient is 0 both are rounding noise.
        assert np.linalg.norm(value - wanted) < 1e-4 * np.linalg.norm(wanted) + 1e-4
