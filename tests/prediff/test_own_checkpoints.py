"""Which checkpoint of a folder is a run's own: what it says of itself counts, not its number."""

import logging
from pathlib import Path

import numpy as np
import pytest

from hpc.checkpoint.format import write_checkpoint
from hpc.errors import UserError
from prediff.config import load_config, save_config
from prediff.own_checkpoints import newest_own
from prediff.run_folder import RunFolder


def save(
    folder: RunFolder, step: int, *settings: str, stage: str = "diffusion", into: str = "diffusion"
) -> None:
    write_checkpoint(
        folder.checkpoints(into),
        step=step,
        arrays={"model": {"w": np.zeros(1, np.float32)}},
        state={"stage": stage, "config": load_config(None, settings).model_dump(mode="json")},
    )


@pytest.fixture(params=[True, False], ids=["with config.yaml", "without"])
def folder(request, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    if request.param:
        save_config(load_config(), folder.config)
    save(folder, 300)
    return folder


@pytest.mark.parametrize(
    ("settings", "stage", "reason"),
    [
        ([], "autoencoder", "of the task 'autoencoder'"),
        (["seed=7"], "diffusion", "seed 7 instead of 0"),
        (["denoiser.base_width=64"], "diffusion", "denoiser.base_width 64 instead of 32"),
    ],
)
def test_a_foreign_checkpoint_is_passed_over_with_one_line(folder, caplog, settings, stage, reason):
    save(folder, 99999999, *settings, stage=stage)
    with caplog.at_level(logging.WARNING):
        found = newest_own(folder, "diffusion")
    assert found is not None
    assert found.name == "step_00000300"
    assert [reason in record.getMessage() for record in caplog.records] == [True]


def test_settings_that_may_change_and_another_place_of_the_data_are_no_reason(folder):
    changed = ["train_diffusion.log_every=3", "data.root=/elsewhere", "forecast.steps=3"]
    save(folder, 400, *changed)
    found = newest_own(folder, "diffusion")
    assert found is not None
    assert found.name == "step_00000400"


def test_a_run_is_itself_under_another_name_and_through_a_link(folder, tmp_path):
    folder.path.rename(tmp_path / "renamed")
    (tmp_path / "link").symlink_to("renamed")
    for name in ("renamed", "link"):
        found = newest_own(RunFolder(tmp_path / name), "diffusion")
        assert found is not None


def test_foreign_ones_alone_are_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    save(folder, 1, stage="autoencoder")
    with pytest.raises(UserError, match="whole and of this run"):
        newest_own(folder, "diffusion")


def test_no_checkpoint_at_all_is_none(tmp_path):
    assert newest_own(RunFolder(Path(tmp_path)), "diffusion") is None


def test_an_autoencoder_belongs_to_runs_with_another_denoiser_too(tmp_path):
    folder, kind = RunFolder(tmp_path), "autoencoder"
    others = ("denoiser.base_width=16", "train_diffusion.duration=9 steps")
    save(folder, 4, *others, stage=kind, into=kind)
    save_config(load_config(), folder.config)
    assert newest_own(folder, kind).name == "step_00000004"
    save(folder, 5, "autoencoder.latent_channels=8", stage=kind, into=kind)
    assert newest_own(folder, kind).name == "step_00000004"
