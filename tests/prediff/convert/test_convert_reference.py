"""Weights in and out under the official names; `official_names.json.gz` lists all three files'."""

import gzip
import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from reference_weights import reference_weights

from hpc.errors import UserError
from prediff.convert import load_reference, to_reference
from prediff.convert.parameter_names import index_buffers, reference_entries
from prediff.models.alignment_network import AlignmentNetwork
from prediff.models.autoencoder import Autoencoder
from prediff.models.cuboid import CuboidSelfAttention
from prediff.models.earthformer_unet import EarthformerUNet

DATA = Path(__file__).parents[2] / "data"
OFFICIAL = json.loads(gzip.decompress((DATA / "official_names.json.gz").read_bytes()))
GRID = {"height": 16, "width": 16, "latent_channels": 64, "num_heads": 4}
SMALL = {"latent_channels": 4, "widths": (8, 16), "norm_groups": 8, "layers_per_block": 1}


def shapes(cell):
    found = {name: entry.reference_shape for name, entry in reference_entries(cell).items()}
    return {**found, **{name: array.shape for name, array in index_buffers(cell).items()}}


def small():
    cell = Autoencoder(**SMALL)
    return cell, reference_weights("test.", shapes(cell))


@pytest.mark.parametrize(
    ("network", "build"),
    [
        ("autoencoder", lambda: Autoencoder(latent_channels=64, widths=(128, 256, 512, 512))),
        (
            "alignment",
            lambda: AlignmentNetwork(forecast_length=6, base_width=128, depths=[1, 1], **GRID),
        ),
    ],
)
def test_the_published_network_has_exactly_the_official_names_and_shapes(network, build):
    found = {name: list(shape) for name, shape in shapes(build()).items()}
    assert found == OFFICIAL[network]


def test_a_narrow_denoiser_has_exactly_the_official_names_and_its_shapes_an_eighth_as_wide():
    cell = EarthformerUNet(
        context_length=7, forecast_length=6, base_width=32, depths=[4, 4], **GRID
    )
    found, official = shapes(cell), OFFICIAL["denoiser"]
    assert set(found) == set(official)
    assert len(found) == 688
    for name, shape in found.items():
        assert len(shape) == len(official[name]), name
        assert all(n in (m, m // 8) for n, m in zip(shape, official[name], strict=True)), name


def test_loaded_weights_are_where_their_names_say_and_export_gives_them_back():
    cell, state = small()
    report = load_reference(cell, state)
    np.testing.assert_array_equal(cell.encoder.moments.weight.asnumpy(), state["quant_conv.weight"])
    assert report.mapped["quant_conv.weight"] == "encoder.moments.weight"
    assert str(report) == f"the autoencoder (VAE): {len(state)} weights loaded"
    exported = to_reference(cell)
    assert list(exported) != []
    for name, array in state.items():
        np.testing.assert_array_equal(exported[name], array)
    assert set(exported) == set(state)


def test_pointwise_convolutions_and_index_buffers_survive_a_round_trip():
    cell = AlignmentNetwork(
        forecast_length=3,
        height=4,
        width=4,
        latent_channels=4,
        base_width=8,
        depths=[1, 1],
        num_heads=2,
    )
    entries = {name: entry.reference_shape for name, entry in reference_entries(cell).items()}
    state = reference_weights("test.", entries)
    assert state["out.2.qkv_proj.weight"].shape == (48, 16, 1)
    report = load_reference(cell, {**state, **index_buffers(cell)})
    assert len(report.ignored) == 6
    assert "6 constant relative_position_index buffers ignored" in str(report)
    exported = to_reference(cell)
    for name, array in state.items():
        np.testing.assert_array_equal(exported[name], array, err_msg=name)
    index = exported["down_self_blocks.0.0.attn_l.0.relative_position_index"]
    np.testing.assert_array_equal(index, [[2, 1, 0], [3, 2, 1], [4, 3, 2]])
    assert index.dtype == np.int64


def without(state, part):
    return {name: array for name, array in state.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "decoder.conv_out"), "2 missing: decoder.conv_out.bias, decoder.con"),
        (lambda s: {**s, "loss.logvar": np.zeros(1)}, "1 unexpected: loss.logvar"),
        (
            lambda s: {**s, "quant_conv.bias": np.zeros(3, np.float32)},
            r"1 wrong shape: quant_conv.bias \[3\] instead of \[8\]",
        ),
        (
            lambda s: {**s, "quant_conv.bias": np.full(8, np.nan, np.float32)},
            "1 not finite numbers: quant_conv.bias",
        ),
        (
            lambda s: {**s, "quant_conv.bias": np.full(8, -np.inf, np.float64)},
            "1 not finite numbers: quant_conv.bias",
        ),
        (
            lambda s: {**s, "quant_conv.bias": np.zeros(8, np.int64)},
            "1 not finite numbers: quant_conv.bias",
        ),
        (lambda s: without(s, "mid_block"), "and 42 more"),
        (lambda s: {"x": s["quant_conv.bias"]}, "none of PreDiff's three networks"),
        (lambda s: {}, "no tensors"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_in_one_line_and_changes_nothing(change, message):
    cell, state = small()
    before = to_reference(cell)
    with pytest.raises(UserError, match=message) as caught:
        load_reference(cell, change(state))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    for name, array in to_reference(cell).items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("network", "title"),
    [("denoiser", "the denoiser"), ("alignment", "the alignment network")],
)
def test_a_wrong_file_says_which_of_the_three_it_is(network, title):
    cell = Autoencoder(**SMALL)
    with pytest.raises(UserError, match=f"this is {title}.*, not the autoencoder"):
        load_reference(cell, dict.fromkeys(OFFICIAL[network], np.zeros(1)))


def test_half_and_double_precision_weights_become_float32():
    cell, state = small()
    load_reference(cell, {name: array.astype(np.float64) for name, array in state.items()})
    assert cell.encoder.conv_in.weight.dtype == ms.float32
    load_reference(cell, {name: array.astype(np.float16) for name, array in state.items()})
    assert cell.encoder.conv_in.weight.dtype == ms.float32


def test_a_cell_that_is_none_of_the_three_is_refused():
    with pytest.raises(UserError, match="Dense is neither one of"):
        load_reference(ms.nn.Dense(2, 2), {})


def test_a_single_attention_layer_takes_the_names_of_the_reference():
    layer = CuboidSelfAttention(dim=16, num_heads=2, cuboid_size=(2, 4, 4), shift_size=(0, 0, 0))
    random = np.random.default_rng(0)
    weights = {
        name: random.standard_normal(array.shape).astype(np.float32)
        for name, array in to_reference(layer).items()
        if not name.endswith("relative_position_index")
    }
    assert set(weights) == {
        "norm.weight",
        "norm.bias",
        "qkv.weight",
        "proj.weight",
        "proj.bias",
        "relative_position_bias_table",
    }
    load_reference(layer, weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(to_reference(layer)[name], array)
    with pytest.raises(UserError, match=r"the attention layer: 1 missing: qkv\.weight"):
        load_reference(layer, {k: v for k, v in weights.items() if k != "qkv.weight"})
