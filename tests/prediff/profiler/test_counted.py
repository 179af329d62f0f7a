"""The cost formulas against the products that the networks of this software really make."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from hpc.ops.convolution import Conv2d
from hpc.ops.linear import Linear
from prediff.config import Config
from prediff.models import build_alignment, build_autoencoder, build_denoiser
from prediff.models.alignment_cost import alignment_cost
from prediff.models.autoencoder_cost import (
    decoder_cost,
    discriminator_cost,
    encoder_cost,
    training_operations,
)
from prediff.models.cost import Cost
from prediff.models.denoiser_cost import DenoiserCost
from prediff.models.discriminator import PatchDiscriminator
from prediff.profiler.counted import count_products

ms.set_context(mode=ms.GRAPH_MODE)

SMALL = Config.model_validate(
    {
        "data": {"frame_size": 32, "context_frames": 2, "forecast_frames": 3},
        "autoencoder": {"latent_channels": 4, "widths": (8, 16), "layers_per_block": 2},
        "denoiser": {"base_width": 16, "depths": (2, 1), "num_heads": 1},
        "alignment": {"base_width": 32, "depths": (1, 1), "num_heads": 2},
    }
)
BATCH = 2


def zeros(*shape: int) -> ms.Tensor:
    return ms.Tensor(np.zeros(shape, np.float32))


def counted(network: nn.Cell, *inputs: ms.Tensor) -> Cost:
    products = count_products(network, lambda: network(*inputs))
    total = Cost()
    for product in products:
        total += Cost(**{product.kind: product.operations})
    return total


def assert_same(formula: Cost, found: Cost, *, samples: int) -> None:
    for kind in ("convolution", "linear", "attention"):
        assert getattr(found, kind) == samples * getattr(formula, kind), kind


def steps() -> ms.Tensor:
    return ms.Tensor(np.zeros(BATCH, np.int32))


def test_a_linear_layer_and_a_convolution_count_as_by_hand():
    class Both(nn.Cell):
        def __init__(self):
            super().__init__()
            self.linear, self.conv = Linear(3, 5), Conv2d(5, 7, 3)

        def construct(self, x):
            return self.conv(self.linear(x))

    network = Both()
    linear, conv = count_products(network, lambda: network(zeros(2, 4, 6, 3)))
    assert (linear.module, linear.kind, linear.operations) == ("linear", "linear", 2 * 48 * 15)
    assert linear.bytes == 4 * (48 * 3 + 15 + 48 * 5)
    assert (conv.module, conv.kind) == ("conv", "convolution")
    assert conv.operations == 2 * 48 * 9 * 5 * 7
    assert ms.get_context("mode") == ms.GRAPH_MODE


@pytest.mark.parametrize("pattern", ["axial", "spatial_lg_3"])
def test_the_denoisers_formula_counts_what_the_denoiser_multiplies(pattern):
    config = SMALL.model_copy(
        update={"denoiser": SMALL.denoiser.model_copy(update={"attention_pattern": pattern})}
    )
    found = counted(
        build_denoiser(config), zeros(BATCH, 3, 16, 16, 4), steps(), zeros(BATCH, 2, 16, 16, 4)
    )
    assert_same(DenoiserCost(config).total(), found, samples=BATCH)


def test_the_autoencoders_formulas_count_what_it_multiplies():
    network = build_autoencoder(SMALL)
    encoded = counted(network.encoder, zeros(BATCH, 32, 32, 1))
    assert_same(encoder_cost(SMALL), encoded, samples=BATCH)
    decoded = counted(network.decoder, zeros(BATCH, 16, 16, 4))
    assert_same(decoder_cost(SMALL), decoded, samples=BATCH)


def test_the_discriminators_formula_counts_what_it_multiplies():
    found = counted(PatchDiscriminator(base_width=16), zeros(BATCH, 32, 32, 1))
    assert_same(discriminator_cost(SMALL), found, samples=BATCH)


def test_the_alignment_networks_formula_counts_what_it_multiplies():
    found = counted(build_alignment(SMALL), zeros(BATCH, 3, 16, 16, 4), steps())
    assert_same(alignment_cost(SMALL), found, samples=BATCH)


def test_an_adversary_adds_its_own_operations_to_training():
    adversary = {"train_autoencoder": {"adversarial": {"start_step": 0}}}
    with_one = Config.model_validate({**SMALL.model_dump(), **adversary})
    assert training_operations(with_one) > training_operations(SMALL)
