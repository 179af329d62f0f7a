"""`prediff convert`: weights of others in and out of a run, and settings translated."""

import numpy as np
import pytest
import yaml
from test_convert_mindearth_config import SETTINGS
from torch_files import write_torch

from hpc.checkpoint.format import read_checkpoint
from hpc.checkpoint.store import find_latest
from hpc.errors import UserError
from prediff import cli
from prediff.config import load_config
from prediff.convert import read_checkpoint as read_reference
from prediff.convert import to_reference
from prediff.convert.import_weights import export_weights, import_weights
from prediff.models import build_alignment, build_autoencoder, build_denoiser
from prediff.run_folder import RunFolder
from prediff.trained_networks import load_alignment, load_autoencoder, load_denoiser

SMALL = [
    "data.frame_size=16",
    "autoencoder={latent_channels: 2, widths: [4, 4], norm_groups: 2}",
    "denoiser={base_width: 8, depths: [1], num_heads: 2}",
    "alignment={base_width: 32, depths: [1], num_heads: 4}",
    "diffusion.latent_scale=1.0",
]
CONFIG = load_config(None, SMALL)
BUILD = {
    "autoencoder": build_autoencoder,
    "denoiser": build_denoiser,
    "alignment": build_alignment,
}


def reference_state(network):
    """Return random weights with the official names."""
    random = np.random.RandomState(0)
    return {
        name: array
        if name.endswith("index")
        else random.standard_normal(array.shape).astype(np.float32)
        for name, array in to_reference(BUILD[network](CONFIG)).items()
    }


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / "x")


def loaded(folder, network):
    if network == "autoencoder":
        return load_autoencoder(folder, CONFIG)
    if network == "alignment":
        return load_alignment(folder, CONFIG)[0]
    return load_denoiser(folder, CONFIG, weights="ema")[0]


@pytest.mark.parametrize("network", BUILD)
def test_official_weights_become_a_stage_and_come_out_unchanged(network, folder, tmp_path):
    state = reference_state(network)
    file, out = tmp_path / "official.pt", tmp_path / "out" / "back.safetensors"
    write_torch(file, state)
    imported = import_weights(folder, CONFIG, file=file)
    assert imported.report.network == network
    used = to_reference(loaded(folder, network))
    export_weights(folder, CONFIG, network=network, weights="raw", file=out)
    back = read_reference(out)
    assert set(used) == set(back) == set(state)
    for name, array in state.items():
        np.testing.assert_array_equal(used[name], array, err_msg=name)
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_an_imported_checkpoint_holds_a_fresh_optimizer_to_train_on_from(folder, tmp_path):
    write_torch(tmp_path / "unet.pt", reference_state("denoiser"))
    import_weights(folder, CONFIG, file=tmp_path / "unet.pt")
    found = read_checkpoint(find_latest(folder.checkpoints("diffusion")))
    assert (found.state["samples_seen"], found.state["latent_scale"]) == (0, 1.0)
    assert found.state["imported"] == {"file": "unet.pt", "weights": "raw"}
    assert not any(array.any() for array in found.arrays["optimizer"].values())
    assert set(found.arrays["ema"]) == set(found.arrays["model"])


def test_a_stage_with_checkpoints_is_not_overwritten(folder, tmp_path):
    write_torch(tmp_path / "vae.pt", reference_state("autoencoder"))
    import_weights(folder, CONFIG, file=tmp_path / "vae.pt")
    with pytest.raises(UserError, match="has checkpoints already"):
        import_weights(folder, CONFIG, file=tmp_path / "vae.pt")


def test_latents_of_an_unknown_scale_are_refused(folder, tmp_path):
    write_torch(tmp_path / "unet.pt", reference_state("denoiser"))
    config = load_config(None, [*SMALL[:-1], "diffusion.latent_scale=unit_variance"])
    with pytest.raises(UserError, match=r"set diffusion\.latent_scale"):
        import_weights(folder, config, file=tmp_path / "unet.pt")


def prediff(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["prediff", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    return done.value.code, capsys.readouterr()


def in_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return [text for setting in SMALL for text in ("--set", setting)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {**s, "decoder.conv_in.bias": np.zeros(7, np.float32)}, "wrong shape"),
        (lambda s: {n: a * np.float32("nan") for n, a in s.items()}, "not finite numbers"),
        (lambda s: {n: a for n, a in s.items() if n[:4] != "quan"}, "missing: quant_conv"),
        (lambda s: {"a": np.zeros(3, np.float32)}, "none of PreDiff's three networks"),
    ],
)
def test_a_wrong_file_is_one_line_and_code_2(change, message, tmp_path, monkeypatch, capsys):
    settings = in_run(tmp_path, monkeypatch)
    write_torch(tmp_path / "vae.pt", change(reference_state("autoencoder")))
    code, said = prediff(monkeypatch, capsys, "convert", "import", "vae.pt", *settings)
    assert code == 2
    assert message in said.err
    assert said.err.startswith("error: vae.pt: ")
    assert said.err.count("\n") == 1


def test_truncated_and_wrong_networks_are_one_line_and_code_2(tmp_path, monkeypatch, capsys):
    settings = in_run(tmp_path, monkeypatch)
    write_torch(tmp_path / "vae.pt", reference_state("autoencoder"))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "vae.pt").read_bytes()[:2000])
    for arguments, message in (
        (("cut.pt",), "truncated"),
        (("nix.pt",), "cannot be read"),
        (("vae.pt", "--network", "denoiser"), "this is the autoencoder (VAE), not the denoiser"),
    ):
        code, said = prediff(monkeypatch, capsys, "convert", "import", *arguments, *settings)
        assert (code, said.err.count("\n")) == (2, 1)
        assert message in said.err


def test_import_and_export_by_command(tmp_path, monkeypatch, capsys):
    settings = in_run(tmp_path, monkeypatch)
    write_torch(tmp_path / "align.pt", reference_state("alignment"))
    code, said = prediff(
        monkeypatch, capsys, "convert", "import", "align.pt", "--name", "x", *settings
    )
    assert code == 0, said.err
    assert "weights loaded" in said.out
    assert "runs/x/alignment/checkpoints/step_00000000" in said.out
    export = ("convert", "export", "--name", "x", "--out", "a.safetensors", "--network")
    code, said = prediff(monkeypatch, capsys, *export, "alignment")
    assert code == 0, said.err
    code, said = prediff(monkeypatch, capsys, *export, "denoiser")
    assert code == 2
    assert "`prediff train diffusion --name x` first" in said.err


def test_settings_are_translated_and_every_dropped_key_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(SETTINGS))
    convert = ("convert", "config", "theirs.yaml", "--out", "ours.yaml")
    code, said = prediff(monkeypatch, capsys, *convert)
    assert code == 0, said.err
    config = load_config(tmp_path / "ours.yaml")
    assert config.denoiser.depths == (4, 4)
    assert config.forecast.guidance.scale == 50.0
    assert "dropped optim.wd: never reached the optimizer" in said.out
    assert "\nwrote ours.yaml; " in said.out


@pytest.mark.parametrize(
    ("text", "message"), [("data: [", "is not YAML"), ("a: 1", "has no section model")]
)
def test_another_settings_file_is_one_line_and_code_2(text, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.yaml").write_text(text)
    convert = ("convert", "config", "theirs.yaml", "--out", "ours.yaml")
    code, said = prediff(monkeypatch, capsys, *convert)
    assert (code, said.err.count("\n")) == (2, 1)
    assert message in said.err
    assert not (tmp_path / "ours.yaml").exists()
