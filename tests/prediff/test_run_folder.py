"""A run keeps its configuration: the same command continues, another one is refused."""

from pathlib import Path

import pytest

from hpc.errors import UserError
from prediff.run_folder import open_run


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def opened(*overrides, name="first", **options):
    return open_run(name=name, config=None, data=None, overrides=overrides, **options)


def test_a_run_goes_on_with_its_own_configuration():
    _, first = opened("seed=7", "train_diffusion.global_batch=4")
    _, second = opened()
    assert second == first


@pytest.mark.parametrize(
    "override", ["seed=8", "denoiser.depths=[1,2]", "train_diffusion.learning_rate=0.1"]
)
def test_another_configuration_is_refused_and_the_saved_one_stays(override):
    folder, _ = opened()
    saved = folder.config.read_text()
    with pytest.raises(UserError, match="made with another configuration"):
        opened(override)
    assert folder.config.read_text() == saved


def test_settings_that_do_not_change_the_result_may_change():
    opened()
    _, config = opened("train_diffusion.log_every=3", "forecast.steps=7")
    assert (config.train_diffusion.log_every, config.forecast.steps) == (3, 7)


def test_other_data_are_refused(tmp_path):
    opened()
    with pytest.raises(UserError, match=r"data\.root"):
        open_run(name="first", config=None, data=tmp_path, overrides=())


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden"])
def test_a_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(UserError, match="--name"):
        opened(name=name)


def test_a_rank_that_may_not_save_leaves_the_folder_alone():
    opened(save=False)
    assert not Path("runs").exists()


def test_what_a_check_refuses_is_not_saved():
    def refuse(folder, config):
        raise UserError(f"no data at {config.data.root}")

    with pytest.raises(UserError, match="no data at nowhere"):
        opened("data.root=nowhere", check=refuse)
    assert not Path("runs").exists()
    _, config = opened()
    assert config.data.root is None
