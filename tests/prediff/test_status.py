"""`prediff status` reads a run's files; it neither starts MindSpore nor hashes weights."""

import subprocess
import sys

import numpy as np
import pytest
from build_latents import build
from typer.testing import CliRunner

from hpc.checkpoint.format import write_checkpoint
from prediff.cli import app
from prediff.config import Config, load_config, save_config
from prediff.run_folder import RunFolder
from prediff.status import next_command, run_status
from prediff.training.task import DENOISER, is_trained


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "runs" / "x")
    made.path.mkdir(parents=True)
    save_config(Config(), made.config)
    return made


def checkpoint(folder, stage, step, scores=None, **state):
    write_checkpoint(
        folder.checkpoints(stage),
        step=step,
        arrays={"model": {"w": np.zeros(2, np.float32)}},
        state={"scores": scores or {}, **state},
    )


def by_name(folder, config):
    return {stage.name: stage for stage in run_status(folder, config)}


def test_a_new_run_starts_with_its_data(folder):
    stages = run_status(folder, Config())
    assert [stage.is_done for stage in stages] == [False] * 6
    assert next_command(stages, name="x") == "prediff run --name x"


def test_steps_and_best_scores_are_shown_and_the_next_command(folder):
    (folder.data).mkdir()
    (folder.data / "CATALOG.csv").touch()
    config = load_config(None, ["train_autoencoder.duration=40 steps"])
    checkpoint(folder, "autoencoder", 10, {"loss": 3.0})
    checkpoint(
        folder, "autoencoder", 20, {"loss": 5.0}, speed={"samples_per_second": 12.5, "mfu": 0.321}
    )
    found = by_name(folder, config)["autoencoder"]
    assert (found.is_done, found.progress) == (False, "step 20 of 40")
    assert found.best == "loss 3 in step_00000010"
    assert found.newest.name == "step_00000020"
    assert found.speed == "12.5 samples/s, MFU 32.1 %"
    assert (
        next_command(run_status(folder, config), name="x") == "prediff train autoencoder --name x"
    )

    checkpoint(folder, "autoencoder", 40)
    assert by_name(folder, config)["autoencoder"].is_done
    assert by_name(folder, config)["autoencoder"].speed == ""
    assert next_command(run_status(folder, config), name="x") == "prediff cache latents --name x"


def test_imported_weights_count_as_trained(folder):
    checkpoint(folder, "diffusion", 0, imported={"file": "unet.pt", "weights": "raw"})
    found = by_name(folder, Config())["diffusion"]
    assert (found.is_done, found.progress) == (True, "imported from unet.pt")


def test_the_alignment_network_is_a_stage_of_guided_runs_only(folder):
    assert "alignment" not in by_name(folder, Config())
    guided = load_config(None, ["forecast.guidance.source=persistence"])
    assert by_name(folder, guided)["alignment"].command == "prediff train alignment"


@pytest.mark.parametrize(
    ("wanted", "made", "done"),
    [("3", 0, False), ("3", 2, False), ("3", 3, True), ("3", 4, True), ("all", 1, True)],
)
def test_forecasts_are_done_when_as_many_were_made_as_wanted(folder, wanted, made, done):
    folder.forecast.mkdir()
    for number in range(made):
        (folder.forecast / f"{number}.nc").touch()
    config = load_config(None, [f"forecast.cases={wanted}"])
    found = by_name(folder, config)["forecast"]
    assert (found.is_done, found.progress) == (done, f"{made} of {wanted} cases")


def test_latents_are_done_when_every_shard_is_there(folder):
    assert not by_name(folder, Config())["latents"].is_done
    report = build(folder.latents, events=4)
    assert by_name(folder, Config())["latents"].is_done
    (report.group / "manifest" / "shard_000001.json").unlink()
    found = by_name(folder, Config())["latents"]
    assert (found.is_done, found.progress) == (False, "1 of 2 shards in 1 groups")


def test_epochs_without_data_are_shown_as_such(folder):
    config = load_config(None, ["train_diffusion.duration=3 epochs"])
    assert by_name(folder, config)["diffusion"].progress == "step 0 of 3 epochs"


def test_a_training_is_complete_at_its_last_step():
    config = load_config(None, ["train_diffusion.duration=3 epochs"])
    total = DENOISER.total_steps(config, samples=100)
    assert total == 300 // config.train_diffusion.global_batch
    assert not is_trained({"step": total - 1}, total=total)
    assert is_trained({"step": total}, total=total)


def test_the_command_prints_the_next_one(folder, monkeypatch):
    monkeypatch.chdir(folder.path.parent.parent)
    shown = CliRunner().invoke(app, ["status", "x"])
    assert shown.exit_code == 0, shown.output
    assert "next: prediff run --name x" in shown.output


def test_what_one_copies_is_whole_on_a_narrow_terminal(folder, monkeypatch):
    write_checkpoint(folder.checkpoints("autoencoder"), step=12345678, arrays={}, state={})
    monkeypatch.chdir(folder.path.parent.parent)
    shown = CliRunner().invoke(app, ["status", "x"], env={"COLUMNS": "40"}).output
    assert "newest: runs/x/autoencoder/checkpoints/step_12345678\n" in shown
    assert "…" not in shown


def test_the_command_does_not_load_mindspore_and_refuses_a_run_that_is_not_there(tmp_path):
    code = (
        "import sys\nfrom prediff.cli import main\nsys.argv = ['prediff', 'status', 'nix']\n"
        "try:\n    main()\nfinally:\n    assert 'mindspore' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2, run.stderr
    assert run.stderr == "error: no run nix in runs/: `prediff run --name nix` makes it\n"
