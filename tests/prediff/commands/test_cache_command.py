"""`prediff cache info` and `verify`, on stores of a made-up encoder."""

import numpy as np
import pytest
from typer.testing import CliRunner

from prediff.commands import cache
from prediff.commands.cache import cache_app
from prediff.latents.layout import StoreIdentity, list_groups
from prediff.latents.verify import verify_group
from prediff.latents.writer import build_store
from prediff.run_folder import open_run

IDENTITY = StoreIdentity(dataset="vil_8px", vae_sha256="a" * 64, catalog_sha256="b" * 64)


def build(path) -> None:
    build_store(
        path,
        identity=IDENTITY,
        variant="identity",
        event_ids=["A", "B", "C"],
        num_frames=4,
        latent_shape=(2, 2, 3),
        read_event=lambda number: np.full((4, 8, 8, 1), number / 4, np.float32),
        encode=lambda frames: (np.ones((len(frames), 2, 2, 3)), np.ones((len(frames), 2, 2, 3))),
        batch_frames=4,
        events_per_shard=1,
    )


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _ = open_run(name="first", config=None, data=None, overrides=())
    build(tmp_path / folder.latents)
    return tmp_path / folder.latents


def run(*arguments: str):
    return CliRunner().invoke(cache_app, [*arguments, "--name", "first"])


def damage(store) -> None:
    file = sorted(store.rglob("mean/c.*"))[1]
    data = bytearray(file.read_bytes())
    data[10] ^= 4
    file.write_bytes(data)


def test_info_tells_what_is_there(store, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = run("info")
    assert result.exit_code == 0
    assert "vil_8px/identity" in result.output
    assert "3/3" in result.output


def test_a_whole_store_verifies(store):
    result = run("verify")
    assert (result.exit_code, result.output.strip()) == (0, "every shard is whole")


def test_a_flipped_bit_is_named_and_the_command_that_repairs(store):
    damage(store)
    result = run("verify")
    assert result.exit_code == 1
    assert "shard 1: mean/c.1" in result.output
    assert "prediff cache verify --repair --name first" in result.output


def test_repair_makes_what_was_damaged_again(store, monkeypatch):
    monkeypatch.setattr(cache, "latents", lambda **options: build(store))
    damage(store)
    assert run("verify", "--repair").exit_code == 0
    assert verify_group(list_groups(store)[0]).whole


def test_without_a_store_the_command_that_makes_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_run(name="first", config=None, data=None, overrides=())
    result = run("verify")
    assert "prediff cache latents" in str(result.exception)
