"""The alignment network: output and guidance gradient of the reference."""

import mindspore as ms
import numpy as np
import pytest
from denoiser_fixtures import SMALL_ALIGNMENT, reference, set_reference_weights, small
from mindspore import nn, ops

from hpc.errors import UserError
from prediff.models.alignment_network import AlignmentNetwork, AttentionPool

ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.fixture(scope="module")
def network():
    return set_reference_weights(
        AlignmentNetwork(**SMALL_ALIGNMENT), prefix="align", shapes=reference()["align"]
    )


class GuidanceGradient(nn.Cell):
    """50 dF/dz of MODEL.md section 4.6, with the network's output beside it."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.gradient = ops.value_and_grad(self.energy, 0, has_aux=True)

    def energy(self, noisy, step, target):
        intensity = self.network(noisy, step)
        return (intensity.mean(1) - target).square().sum().sqrt(), intensity

    def construct(self, noisy, step, target):
        (_, intensity), gradient = self.gradient(noisy, step, target)
        return intensity, 50 * gradient


@pytest.mark.slow
def test_compiled_output_and_guidance_gradient_equal_the_reference(network):
    arrays = small()
    step = ms.Tensor(arrays["t"].astype(np.int32))
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        intensity, gradient = GuidanceGradient(network)(
            ms.Tensor(arrays["zt"]), step, ms.Tensor(arrays["avg_x_gt"])
        )
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
    np.testing.assert_allclose(intensity.asnumpy(), arrays["align.out"], atol=1e-5)
    expected = arrays["align.grad_t"]
    np.testing.assert_allclose(gradient.asnumpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_guidance_gradient_at_another_step_equals_the_reference(network):
    arrays = small()
    step = ms.Tensor(np.array([500, 500], np.int32))
    _, gradient = GuidanceGradient(network)(
        ms.Tensor(arrays["zt"]), step, ms.Tensor(arrays["avg_x_gt"])
    )
    expected = arrays["align.grad_t500"]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(gradient.asnumpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_the_pool_table_starts_with_variance_one_over_the_channels():
    network = AlignmentNetwork(**SMALL_ALIGNMENT, seed=4)
    table = network.pool.position_table.asnumpy()
    assert table.shape == (64, 65)
    np.testing.assert_allclose(table.std(), 1 / 8, rtol=0.05)
    again = AlignmentNetwork(**SMALL_ALIGNMENT, seed=4)
    np.testing.assert_array_equal(again.pool.position_table.asnumpy(), table)


def test_pool_weights_change_between_the_layouts_of_a_linear_map_and_a_convolution():
    pool = AttentionPool(dim=8, tokens=4, num_heads=2)
    reference_weight = np.arange(24 * 8, dtype=np.float32).reshape(24, 8, 1)
    ours = pool.qkv.reference_to_parameter(reference_weight)
    assert ours.shape == pool.qkv.weight.shape
    np.testing.assert_array_equal(pool.qkv.parameter_to_reference(ours), reference_weight)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(UserError, match="heads do not divide"):
        AlignmentNetwork(**{**SMALL_ALIGNMENT, "num_heads": 5})
    with pytest.raises(UserError, match="36 channels do not divide into 32 groups"):
        AlignmentNetwork(**{**SMALL_ALIGNMENT, "base_width": 36, "depths": [1]})
