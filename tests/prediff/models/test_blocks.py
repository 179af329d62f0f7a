"""The layers between attentions, each against the reference's numbers."""

import mindspore as ms
import numpy as np
import pytest
from denoiser_fixtures import layer_arrays, layer_input, reference, set_reference_weights
from mindspore import nn
from scipy.special import erf

from hpc.errors import UserError
from hpc.ops.activation import BiasGelu
from hpc.ops.initialization import initialize
from prediff.convert.denoiser_names import denoiser_reference_name
from prediff.models.alignment_network import AttentionPool
from prediff.models.blocks import (
    AttentionStack,
    FeedForward,
    PatchMerging,
    ResidualBlock,
    Upsampling,
    norm_groups,
)
from prediff.models.embeddings import PositionEmbedding, TimeEmbedding, TimestepEmbedding
from prediff.models.levels import Level, plan_levels

ms.set_context(mode=ms.PYNATIVE_MODE)

FROM_NCTHW = (0, 2, 3, 4, 1)


def loaded(name, cell, ours="", theirs=""):
    """Load the reference's weights; `ours` and `theirs` are where the layer stands in a network."""
    return set_reference_weights(
        cell,
        prefix=name,
        shapes=reference()["layers"][name],
        rename=lambda own: denoiser_reference_name(ours + own).removeprefix(theirs),
    )


def check(name, cell, *, layout=None, atol=1e-5):
    x = layer_input(name)
    x = x if layout is None else x.transpose(layout)
    rest = [layer_arrays()[f"{name}/in1"]] if f"{name}/in1" in layer_arrays() else []
    y = cell(ms.Tensor(x), *map(ms.Tensor, rest)).asnumpy()
    expected = layer_arrays()[f"{name}/out"]
    np.testing.assert_allclose(
        y, expected if layout is None else expected.transpose(layout), atol=atol
    )


def test_feed_forward_equals_the_reference():
    check("ffn_gelu", loaded("ffn_gelu", FeedForward(16), "feed_forwards.0.", "ffn_l.0."))


def test_axial_stack_equals_the_reference():
    check("stack_axial", loaded("stack_axial", AttentionStack(dim=16, num_heads=4, grid=(6, 8, 8))))


def test_patch_merging_equals_the_reference_on_even_and_odd_frames():
    check(
        "patch_merge",
        loaded("patch_merge", PatchMerging(16, 32), "mergings.0.", "downsample_layers.0."),
    )
    check(
        "patch_merge_odd",
        loaded("patch_merge_odd", PatchMerging(16, 32), "mergings.0.", "downsample_layers.0."),
    )


def test_upsampling_equals_the_reference():
    cell = Upsampling(32, 16, source=(4, 4), target=(8, 8))
    check("upsample", loaded("upsample", cell, "upsamplings.0.", "upsample_layers.0."))


def test_upsampling_to_odd_frames_repeats_the_nearest_cell():
    cell = Upsampling(1, 1, source=(3, 4), target=(5, 7))
    weight = np.zeros((1, 1, 3, 3), np.float32)
    weight[0, 0, 1, 1] = 1
    cell.conv.weight.set_data(ms.Tensor(weight))
    x = np.random.RandomState(0).standard_normal((1, 2, 3, 4, 1)).astype(np.float32)
    expected = x[:, :, [0, 0, 1, 1, 2]][:, :, :, [0, 0, 1, 1, 2, 2, 3]]
    np.testing.assert_allclose(cell(ms.Tensor(x)).asnumpy(), expected, atol=1e-6)


def test_time_block_equals_the_reference():
    cell = loaded("resblock_emb", ResidualBlock(32, 32, embedding_dim=128))
    check("resblock_emb", cell, layout=FROM_NCTHW)


def test_projection_block_with_one_group_a_channel_equals_the_reference():
    cell = loaded("resblock_noemb_65", ResidualBlock(65, 32))
    check("resblock_noemb_65", cell, layout=FROM_NCTHW)


def test_groups_are_32_where_they_divide():
    assert [norm_groups(channels) for channels in (256, 65, 16, 96)] == [32, 65, 16, 32]


def test_position_embedding_equals_the_reference():
    cell = PositionEmbedding(grid=(6, 8, 8), dim=16)
    check("pos_embed", loaded("pos_embed", cell, "entry.position_embedding.", "pos_embed."))


def test_timestep_sinusoids_equal_the_reference():
    steps = np.array([0, 1, 37, 500, 999], np.int32)
    for dim in (256, 7):
        expected = layer_arrays()[f"timestep_embedding_{dim}"]
        found = TimestepEmbedding(dim)(ms.Tensor(steps)).asnumpy()
        # Half a unit in the last place of a frequency moves an angle by step * 2**-25.
        allowed = 1e-6 + steps[:, None] * 2.0**-25
        assert (np.abs(found - expected) <= allowed).all()


def test_time_vector_equals_the_reference():
    cell = loaded(
        "time_embed", TimeEmbedding(dim=32, out_dim=128), "entry.time_embedding.", "time_embed."
    )
    cell.sinusoids = nn.Identity()
    check("time_embed", cell)


def test_attention_pool_equals_the_reference():
    cell = loaded("attn_pool", AttentionPool(dim=32, tokens=16, num_heads=4), "pool.", "out.2.")
    x = layer_input("attn_pool").transpose(0, 2, 1)
    y = cell(ms.Tensor(x)).asnumpy()
    np.testing.assert_allclose(y, layer_arrays()["attn_pool/out"], atol=1e-5)


def test_gelu_is_the_exact_form():
    x = np.linspace(-6, 6, 4001).astype(np.float32)
    expected = 0.5 * x * (1 + erf(x.astype(np.float64) / np.sqrt(2)))
    found = BiasGelu()(ms.Tensor(x[:, None] - 0.5), ms.Tensor(np.array([0.5], np.float32)))
    np.testing.assert_allclose(found.asnumpy()[:, 0], expected, atol=2e-6)


def test_a_fresh_stack_and_time_block_change_nothing():
    x = ms.Tensor(layer_input("ffn_gelu"))
    stack = AttentionStack(dim=16, num_heads=4, grid=(6, 8, 8))
    block = ResidualBlock(16, 16, embedding_dim=64)
    for cell in (stack, block):
        initialize(cell, seed=3)
    np.testing.assert_array_equal(stack(x).asnumpy(), x.asnumpy())
    e = ms.Tensor(np.ones((2, 64), np.float32))
    np.testing.assert_array_equal(block(x, e).asnumpy(), x.asnumpy())


@pytest.mark.parametrize("dtype", [ms.float16])
def test_half_precision_keeps_the_stream_in_float32_and_the_numbers_close(dtype):
    shapes = reference()["layers"]
    x = ms.Tensor(layer_input("stack_axial"))
    stack = AttentionStack(dim=16, num_heads=4, grid=(6, 8, 8), compute_dtype=dtype)
    y = set_reference_weights(stack, prefix="stack_axial", shapes=shapes["stack_axial"])(x)
    assert y.dtype == ms.float32
    np.testing.assert_allclose(y.asnumpy(), layer_arrays()["stack_axial/out"], atol=2e-2)
    assert not np.allclose(y.asnumpy(), layer_arrays()["stack_axial/out"], atol=1e-5)

    block = ResidualBlock(32, 32, embedding_dim=128, compute_dtype=dtype)
    set_reference_weights(block, prefix="resblock_emb", shapes=shapes["resblock_emb"])
    x = layer_input("resblock_emb").transpose(FROM_NCTHW)
    y = block(ms.Tensor(x), ms.Tensor(layer_arrays()["resblock_emb/in1"]))
    assert y.dtype == ms.float32
    expected = layer_arrays()["resblock_emb/out"].transpose(FROM_NCTHW)
    np.testing.assert_allclose(y.asnumpy(), expected, atol=2e-2)


def test_repeats_of_a_shared_time_block_drop_different_elements():
    plan = plan_levels(grid=(3, 4, 4), base_width=8, depths=[2], num_heads=2)[0]
    level = Level(
        plan,
        embedding_dim=32,
        time_block_dropout=0.5,
        recompute=False,
        compute_dtype=ms.float32,
        stack_options={"num_heads": 2},
    )
    random = np.random.RandomState(0)
    for parameter in level.get_parameters():
        value = 0.2 * random.standard_normal(parameter.shape)
        parameter.set_data(ms.Tensor(value.astype(np.float32)))
    for parameter in level.stacks.get_parameters():
        parameter.set_data(ms.Tensor(np.zeros(parameter.shape, np.float32)))
    h = ms.Tensor(random.standard_normal((1, 3, 4, 4, 8)).astype(np.float32))
    e, key = ms.Tensor(np.ones((1, 32), np.float32)), ms.Tensor(np.array([5], np.int32))
    level.set_train()
    first, second = (level.block(j, h, e, key).asnumpy() for j in range(2))
    assert not np.allclose(first, second)
    level.set_train(False)
    np.testing.assert_array_equal(
        level.block(0, h, e, key).asnumpy(), level.block(1, h, e, key).asnumpy()
    )


def test_levels_halve_the_frames_and_widen():
    levels = plan_levels(
        grid=(13, 16, 15), base_width=6, depths=[1, 2, 1], num_heads=3, width_growth=0.7
    )
    assert [level.grid for level in levels] == [(13, 16, 15), (13, 8, 8), (13, 4, 4)]
    assert [level.dim for level in levels] == [6, 6, 12]
    assert [level.depth for level in levels] == [1, 2, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": []}, "depths"),
        ({"depths": [1, 0]}, "depths"),
        ({"num_heads": 3}, "level 0 has 8 channels, which 3 heads do not divide"),
        ({"depths": [1, 1, 1, 1, 1]}, "5 levels are too many for frames of 4x4"),
        ({"base_width": 0}, "must be positive"),
        ({"grid": (3, 0, 4)}, "must be positive"),
    ],
)
def test_levels_that_cannot_work_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        plan_levels(
            **{"grid": (3, 4, 4), "base_width": 8, "depths": [1, 1], "num_heads": 2, **change}
        )
