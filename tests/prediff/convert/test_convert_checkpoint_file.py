"""Files of every kind, told apart by their content; training checkpoints and their averages."""

from pathlib import Path

import numpy as np
import pytest
from reference_weights import reference_weights
from torch_files import write_torch

from hpc.errors import UserError
from prediff.convert import read_checkpoint, write_checkpoint

DATA = Path(__file__).parents[2] / "data"
DENOISER = reference_weights(
    "test.",
    {
        "first_proj.in_layers.0.weight": (4,),
        "up_self_blocks.0.0.attn_l.0.relative_position_bias_table": (3, 2),
        "final_proj.weight": (2, 4),
    },
)
INDEX = {"up_self_blocks.0.0.attn_l.0.relative_position_index": np.array([[1, 0], [2, 1]])}
AUTOENCODER = reference_weights(
    "test.", {"encoder.conv_in.weight": (2, 1, 3, 3), "decoder.conv_in.weight": (2, 1, 3, 3)}
)


def prefixed(prefix, state):
    return {prefix + name: array for name, array in state.items()}


def averages(state, shift=1.0):
    return {
        "model_ema." + name.replace(".", ""): np.float32(array + shift)
        for name, array in state.items()
    }


def same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.fixture
def training(tmp_path):
    """A checkpoint as the reference trainer writes it: network, averages, VAE, schedule."""
    state = {
        **prefixed("torch_nn_module.", {**DENOISER, **INDEX}),
        **averages(DENOISER),
        "model_ema.decay": np.array(0.9999, np.float32),
        **prefixed("first_stage_model.", AUTOENCODER),
        "logvar": np.zeros(1000, np.float32),
    }
    content = {"state_dict": state, "epoch": 3, "optimizer_states": [{"lr": 1e-3}]}
    write_torch(tmp_path / "last.ckpt", content)
    return tmp_path / "last.ckpt"


def test_an_official_file_is_read_as_it_is(tmp_path):
    write_torch(tmp_path / "unet.pt", {**DENOISER, **INDEX})
    same(read_checkpoint(tmp_path / "unet.pt"), {**DENOISER, **INDEX})


def test_a_training_checkpoint_gives_its_network_without_prefix(training):
    same(read_checkpoint(training), {**DENOISER, **INDEX})


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_what_a_wrapper_put_before_every_name_is_taken_off(tmp_path, wrapper):
    write_checkpoint(tmp_path / "ddp.safetensors", prefixed(wrapper, AUTOENCODER))
    same(read_checkpoint(tmp_path / "ddp.safetensors"), AUTOENCODER)


@pytest.mark.parametrize("holder", ["model", "model_state_dict"])
def test_weights_beside_an_optimizer_are_found_under_every_usual_name(tmp_path, holder):
    write_torch(tmp_path / "w.pt", {"epoch": 3, "optimizer": {"lr": 1e-3}, holder: AUTOENCODER})
    same(read_checkpoint(tmp_path / "w.pt"), AUTOENCODER)


def test_a_training_checkpoint_gives_its_averages_on_request(training):
    expected = {name: np.float32(array + 1) for name, array in DENOISER.items()}
    same(read_checkpoint(training, weights="ema"), {**expected, **INDEX})


def test_averages_named_with_the_prefix_are_found_too(tmp_path):
    state = prefixed("torch_nn_module.", DENOISER)
    write_torch(tmp_path / "x.ckpt", {"state_dict": {**state, **averages(state)}})
    found = read_checkpoint(tmp_path / "x.ckpt", weights="ema")
    same(found, {name: np.float32(array + 1) for name, array in DENOISER.items()})


def test_the_autoencoder_inside_a_diffusion_checkpoint_can_be_asked_for(training):
    same(read_checkpoint(training, network="autoencoder"), AUTOENCODER)


def test_a_missing_average_is_an_error_not_a_raw_weight(tmp_path):
    state = {**prefixed("torch_nn_module.", DENOISER), **averages(DENOISER)}
    del state["model_ema.final_projweight"]
    write_torch(tmp_path / "x.ckpt", {"state_dict": state})
    with pytest.raises(UserError, match=r"no moving average for 1 of 3 weights \(final_proj"):
        read_checkpoint(tmp_path / "x.ckpt", weights="ema")


def test_a_wanted_network_that_is_not_there_is_named_with_what_is(tmp_path, training):
    write_torch(tmp_path / "vae.pt", AUTOENCODER)
    with pytest.raises(UserError, match=r"vae\.pt: this is the autoencoder .*, not the denoiser"):
        read_checkpoint(tmp_path / "vae.pt", network="denoiser")
    with pytest.raises(UserError, match=r"denoiser .* and the autoencoder .*not the alignment"):
        read_checkpoint(training, network="alignment")


def test_safetensors_come_back_whatever_the_file_is_called(tmp_path):
    for name in ("a.safetensors", "pretrained.pt"):
        write_checkpoint(tmp_path / name, {**DENOISER, **INDEX})
        same(read_checkpoint(tmp_path / name), {**DENOISER, **INDEX})


def test_a_file_that_cannot_be_written_is_one_clear_line_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write_checkpoint(tmp_path / "absent" / "x.pt", DENOISER)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="was not made by this command"):
        write_checkpoint(tmp_path / "folder", DENOISER)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("length", [0x180, 0x4B50])
def test_a_safetensors_header_length_that_looks_like_a_pickle_or_a_zip_is_no_obstacle(
    tmp_path, length
):
    header = b'{"encoder.w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    header += b'"decoder.w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
    content = length.to_bytes(8, "little") + header.ljust(length) + np.ones(2, "<f4").tobytes()
    assert content.startswith((b"\x80", b"PK"))
    (tmp_path / "x").write_bytes(content)
    assert set(read_checkpoint(tmp_path / "x")) == {"encoder.w", "decoder.w"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither PyTorch, nor safetensors, nor a readable MindSpore"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "old format"),
        (b"PK\x03\x04rubbish", "truncated"),
        (b"\x10\0\0\0\0\0\0\0{truncated", "not a whole safetensors"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_clear_line(tmp_path, content, message):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_one_clear_line(tmp_path):
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_checkpoint(path)


def test_a_file_of_other_tensors_says_so():
    with pytest.raises(UserError, match=r"none of PreDiff's three networks: it holds 12 entries"):
        read_checkpoint(DATA / "torch_2_13.pt")
