"""MindEarth's checkpoints: MindSpore's names and layouts become the reference's."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from reference_weights import reference_weights

from hpc.errors import UserError
from prediff.convert import load_reference, read_checkpoint, to_reference
from prediff.convert.mindspore_reader import read_mindspore, reference_name
from prediff.convert.parameter_names import index_buffers, reference_entries
from prediff.models.alignment_network import AlignmentNetwork


@pytest.mark.parametrize(
    ("mindspore", "reference"),
    [
        ("first_proj.in_layers.0.gamma", "first_proj.in_layers.0.weight"),
        (
            "up_self_blocks.0.1.ffn_l.2.layer_norm.beta",
            "up_self_blocks.0.1.ffn_l.2.layer_norm.bias",
        ),
        ("pos_embed.t_embed.embedding_table", "pos_embed.T_embed.weight"),
        ("pos_embed.w_embed.embedding_table", "pos_embed.W_embed.weight"),
        ("out.2.positional_embedding", "out.2.positional_embedding"),
        ("encoder.conv_in.weight", "encoder.conv_in.weight"),
        ("net.encoder.conv_norm_out.gamma", "net.encoder.conv_norm_out.weight"),
    ],
)
def test_names_are_translated(mindspore, reference):
    assert reference_name(mindspore) == reference


class TheirLayers(nn.Cell):
    """The kinds of layer that MindEarth's networks are made of, under names of theirs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, has_bias=True)
        self.norm = nn.GroupNorm(1, 4)
        self.layer_norm = nn.LayerNorm([4])
        self.qkv_proj = nn.Conv1d(4, 12, 1, has_bias=True)
        self.t_embed = nn.Embedding(5, 4)


def test_layers_of_the_framework_are_read_with_the_shapes_of_the_reference(tmp_path):
    cell = nn.Cell()
    cell.pos_embed = TheirLayers()
    ms.save_checkpoint(cell, str(tmp_path / "x.ckpt"))
    found = {name: array.shape for name, array in read_mindspore(tmp_path / "x.ckpt").items()}
    assert found == {
        "pos_embed.conv.weight": (3, 2, 3, 3),
        "pos_embed.conv.bias": (3,),
        "pos_embed.norm.weight": (4,),
        "pos_embed.norm.bias": (4,),
        "pos_embed.layer_norm.weight": (4,),
        "pos_embed.layer_norm.bias": (4,),
        "pos_embed.qkv_proj.weight": (12, 4, 1),
        "pos_embed.qkv_proj.bias": (12,),
        "pos_embed.T_embed.weight": (5, 4),
    }


def their_name(name):
    """The reverse of `reference_name`, for the norms and tables of a whole network."""
    is_norm = ".norm." in name or "layer_norm" in name or "layers.0." in name or "out.0." in name
    if is_norm:
        name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
    for axis in "THW":
        name = name.replace(f"{axis}_embed.weight", f"{axis.lower()}_embed.embedding_table")
    return name


@pytest.mark.parametrize("prefix", ["", "net.", "main_model."])
def test_a_whole_network_of_theirs_loads(tmp_path, prefix):
    cell = AlignmentNetwork(
        forecast_length=2,
        height=4,
        width=4,
        latent_channels=4,
        base_width=8,
        depths=[1, 1],
        num_heads=2,
    )
    shapes = {name: entry.reference_shape for name, entry in reference_entries(cell).items()}
    state = reference_weights("test.", shapes)
    stored = [
        {
            "name": prefix + their_name(name),
            "data": ms.Tensor(array[..., None, :] if name.endswith("_proj.weight") else array),
        }
        for name, array in {**state, **index_buffers(cell)}.items()
    ]
    ms.save_checkpoint(stored, str(tmp_path / "alignment.ckpt"))
    load_reference(cell, read_checkpoint(tmp_path / "alignment.ckpt"))
    exported = to_reference(cell)
    for name, array in state.items():
        np.testing.assert_array_equal(exported[name], array, err_msg=name)


def test_two_parameters_of_one_meaning_are_refused(tmp_path):
    zeros = ms.Tensor(np.zeros(2, np.float32))
    names = ("norm.gamma", "norm.weight")
    ms.save_checkpoint([{"name": n, "data": zeros} for n in names], str(tmp_path / "x.ckpt"))
    with pytest.raises(UserError, match=r"two parameters mean norm\.weight"):
        read_mindspore(tmp_path / "x.ckpt")


def test_a_truncated_checkpoint_is_one_clear_line(tmp_path):
    data = [{"name": "w", "data": ms.Tensor(np.zeros(1000, np.float32))}]
    path = tmp_path / "x.ckpt"
    ms.save_checkpoint(data, str(path))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="nor a readable MindSpore file") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
