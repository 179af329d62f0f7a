"""The cost formulas against the published network and against a network that is built."""

import pytest

from prediff.config import Config
from prediff.models import build_denoiser
from prediff.models.denoiser_cost import DenoiserCost
from prediff.models.unet_chunks import UNetChunk

PUBLISHED = Config.model_validate(
    {
        "data": {"frame_size": 128},
        "autoencoder": {"latent_channels": 64, "widths": (128, 256, 512, 512)},
        "denoiser": {"base_width": 256, "depths": (4, 4), "num_heads": 4},
    }
)


def test_the_published_network_costs_what_was_counted():
    cost = DenoiserCost(PUBLISHED)
    each = [cost.cost(block) for block in cost.blocks]
    assert cost.parameters(cost.blocks) == 136_817_538
    assert sum(c.operations for c in each) == pytest.approx(0.654e12, rel=0.005)
    inner = each[1]
    assert inner.convolution == pytest.approx(23.6e9, rel=0.01)
    assert inner.linear == pytest.approx(15.7e9, rel=0.01)
    assert 16 * inner.convolution == pytest.approx(377e9, rel=0.01)
    assert 16 * inner.linear == pytest.approx(251e9, rel=0.01)
    assert sum(c.attention for c in each) == pytest.approx(2e9, rel=0.2)


def test_blocks_of_both_levels_cost_the_same():
    cost = DenoiserCost(PUBLISHED)
    fine, coarse = cost.cost(cost.blocks[1]), cost.cost(cost.blocks[5])
    assert fine.convolution == coarse.convolution
    assert fine.linear == pytest.approx(coarse.linear, rel=1e-3)


def test_parameters_and_streams_of_a_built_network_are_those_of_the_formula():
    config = Config.model_validate(
        {"denoiser": {"depths": (2, 1), "hierarchical_position_embedding": True}}
    )
    cost, denoiser = DenoiserCost(config), build_denoiser(config)
    assert cost.parameters(cost.blocks) == sum(p.size for p in denoiser.get_parameters())
    embedding = sum(p.size for p in denoiser.entry.time_embedding.get_parameters())
    for number, block in enumerate(cost.blocks[1:-1], start=1):
        chunk = UNetChunk(denoiser, [block])
        held = {id(p): p.size for part in chunk.parts for p in part.get_parameters()}
        assert cost.parameters([block]) == sum(held.values()) + embedding, number
        t, h, w, c = chunk.out_shape
        assert cost.stream_numbers(block) == t * h * w * c
        sizes = [t * h * w * c for t, h, w, c in chunk.skips_made]
        assert cost.skip_numbers(block) == sum(sizes)
