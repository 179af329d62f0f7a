"""An exported model is a run that others can take, and nobody can change unseen."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner
from untrained_run import untrained_run

from hpc.checkpoint.format import read_checkpoint
from hpc.checkpoint.seal import seal_folder
from hpc.errors import UserError
from prediff.cli import app
from prediff.config import load_config
from prediff.exchange.travel import export_model, import_model
from prediff.run_folder import RunFolder, find_run
from prediff.trained_networks import load_autoencoder, load_denoiser, newest_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture
def exported(run, tmp_path):
    folder, config = run
    return export_model(folder, config, out=tmp_path / "model")


def open_whole(path):
    """Do what a forecast does before it compiles."""
    folder = find_run(path)
    config = load_config(folder.config)
    load_autoencoder(folder, config)
    load_denoiser(folder, config, weights=config.forecast.weights)
    return folder, config


def test_an_export_has_the_weights_of_its_run_and_nothing_else(run, exported):
    folder, config = open_whole(exported)
    own = read_checkpoint(newest_checkpoint(run[0], "diffusion"))
    taken = read_checkpoint(newest_checkpoint(folder, "diffusion"))
    assert list(taken.arrays) == ["ema"]
    for name, array in own.arrays["ema"].items():
        np.testing.assert_array_equal(taken.arrays["ema"][name], array)
    assert taken.state["latent_scale"] == own.state["latent_scale"]
    assert config.data.root is None
    names = {path.name for path in exported.rglob("*") if path.is_file()}
    assert names <= {
        "config.yaml", "README.md", "model.json", "manifest.json", "state.json",
        "model.safetensors", "ema.safetensors",
    }  # fmt: skip


def test_the_card_says_what_the_model_takes_and_that_its_data_are_made_up(exported):
    card = (exported / "README.md").read_text()
    for words in ("SYNTHETIC DATA", "3 radar frames of vil", "16x16", "10 minutes", "Limits"):
        assert words in card
    facts = json.loads((exported / "model.json").read_text())["facts"]
    assert facts["quantity"] == "vil"
    assert facts["synthetic_data"] is True


def test_one_changed_byte_anywhere_is_refused(exported):
    files = [path for path in exported.rglob("*") if path.is_file()]
    assert len(files) == 9
    for path in files:
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(UserError) as caught:
            open_whole(exported)
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError):
            import_model(exported, name="never")
        path.write_bytes(content)
    open_whole(exported)


def test_files_that_came_or_went_are_refused(exported):
    extra = exported / "setup.py"
    extra.write_text("")
    with pytest.raises(UserError, match=r"holds setup.py, which is not of the model"):
        find_run(exported)
    extra.unlink()
    (exported / "README.md").unlink()
    with pytest.raises(UserError, match=r"lacks README.md"):
        find_run(exported)


def test_import_makes_a_run_and_never_overwrites_one(exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["import", str(exported), "--name", "taken"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "checked and copied" in done.output
    folder, _ = open_whole("taken")
    assert folder.path == tmp_path / "runs" / "taken"
    with pytest.raises(UserError, match="is there already"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    with pytest.raises(UserError, match="is no exported model"):
        import_model(folder.path, name="again")


def test_an_export_that_cannot_be_is_refused_and_leaves_nothing(run, tmp_path):
    folder, _ = run
    raw, config = untrained_run(tmp_path / "raw", ema=False)
    with pytest.raises(UserError, match=r"forecast.weights=raw"):
        export_model(raw, config, out=tmp_path / "model")
    with pytest.raises(UserError, match="has no trained"):
        export_model(RunFolder(tmp_path / "empty"), config, out=tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(UserError, match="is there already"):
        export_model(folder, config, out=tmp_path)


def test_a_name_of_the_hub_needs_a_revision_the_library_and_the_network(monkeypatch):
    with pytest.raises(UserError, match="with the commit"):
        find_run("hf:owner/model")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="needs the library huggingface_hub"):
        find_run("hf:owner/model@0123456789abcdef")

    class Offline:
        @staticmethod
        def snapshot_download(name, revision):
            raise OSError(f"no route to {name}\n at {revision}")

    monkeypatch.setitem(sys.modules, "huggingface_hub", Offline)
    with pytest.raises(UserError, match="no route to owner/model at 0123456789abcdef"):
        find_run("hf:owner/model@0123456789abcdef")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two SSH keys, and lists of trusted keys that name one each."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen here")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
        public = (folder / f"{name}.pub").read_text()
        (folder / f"{name}.signers").write_text(f"{name}@example.org {public}")
    return folder


def test_a_signed_model_is_imported_by_who_trusts_the_key(run, keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = export_model(*run, out=tmp_path / "model", key=keys / "ours")
    import_model(model, name="taken", signers=keys / "ours.signers")
    open_whole(tmp_path / "runs/taken")
    with pytest.raises(UserError, match="is not signed by a key of"):
        import_model(model, name="other", signers=keys / "theirs.signers")
    assert not (tmp_path / "runs/other").exists()


def test_a_replaced_model_is_refused_though_every_digest_is_right(run, keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = export_model(*run, out=tmp_path / "model", key=keys / "ours")
    (model / "README.md").write_text("theirs now")
    seal_folder(model, facts={})  # which anybody can do
    import_model(model, name="unsigned")
    with pytest.raises(UserError, match=r"was changed after ours@example\.org signed it"):
        import_model(model, name="other", signers=keys / "ours.signers")


def test_a_model_without_signature_and_a_missing_key_are_refused(run, keys, exported, tmp_path):
    with pytest.raises(UserError, match="is not signed: ask"):
        import_model(exported, name="other", signers=keys / "ours.signers")
    with pytest.raises(UserError, match="no list of trusted keys"):
        import_model(exported, name="other", signers=tmp_path / "absent")
    with pytest.raises(UserError, match="no key at"):
        export_model(*run, out=tmp_path / "signed", key=tmp_path / "absent")
    assert not (tmp_path / "signed").exists()
