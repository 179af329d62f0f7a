"""A run that ends before its time, for each of the reasons a user meets, in one real process."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kill_driver import SETTINGS, is_writing_checkpoint

from hpc.checkpoint.store import find_latest

pytestmark = pytest.mark.slow


def prediff(folder: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess:
    chosen = SETTINGS | {key.replace("__", "."): value for key, value in settings.items()}
    overrides = itertools.chain(*(("--set", f"{key}={value}") for key, value in chosen.items()))
    return subprocess.run(
        [sys.executable, "-m", "prediff", *arguments, *overrides],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def newest_step(run: Path, stage: str) -> int:
    newest = find_latest(run / stage / "checkpoints")
    assert newest is not None
    return json.loads((newest / "state.json").read_text())["step"]


@pytest.fixture(scope="module")
def encoded(tmp_path_factory) -> Path:
    """A folder with the run `first`, whose latents are there."""
    folder = tmp_path_factory.mktemp("stops")
    for command in (["train", "autoencoder"], ["cache", "latents"]):
        done = prediff(folder, *command, "--name", "first")
        assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_a_time_limit_saves_and_the_same_command_continues(encoded):
    command = ["train", "diffusion", "--name", "first", "--max-time", "0"]
    stopped = prediff(encoded, *command)
    assert stopped.returncode == 75, stopped.stderr[-2000:]
    assert "the same command continues" in stopped.stderr
    first = newest_step(encoded / "runs/first", "diffusion")
    assert 1 <= first <= 2  # a report is read one step late
    again = prediff(encoded, *command)
    assert again.returncode == 75
    assert newest_step(encoded / "runs/first", "diffusion") > first


def test_latents_of_another_autoencoder_are_refused(encoded):
    other = prediff(encoded, "train", "autoencoder", "--name", "other", seed=1)
    assert other.returncode == 0, other.stderr[-2000:]
    mixed = encoded / "runs/mixed"
    shutil.copytree(encoded / "runs/first", mixed)
    shutil.rmtree(mixed / "autoencoder")
    shutil.rmtree(mixed / "diffusion", ignore_errors=True)
    shutil.copytree(encoded / "runs/other/autoencoder", mixed / "autoencoder")
    refused = prediff(encoded, "train", "diffusion", "--name", "mixed")
    assert refused.returncode == 2, refused.stderr[-2000:]
    line = refused.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert "VAE" in line or "autoencoder" in line
    assert not list((mixed / "diffusion").glob("checkpoints/step_*"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own of 4 MiB."""
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("a small file system needs root and mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mount is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_ends_in_one_line_and_the_last_checkpoint_stays_whole(small_disk):
    full = prediff(
        small_disk,
        "train",
        "autoencoder",
        "--name",
        "full",
        train_autoencoder__duration="400 steps",
        train_autoencoder__keep_every=3,
    )
    run = small_disk / "runs/full"
    assert full.returncode == 2, full.stderr[-2000:]
    assert "No space left" in full.stderr or "no room left" in full.stderr
    assert "Traceback" not in full.stderr
    kept = newest_step(run, "autoencoder")
    assert kept >= 3
    assert not is_writing_checkpoint(run)

    for old in sorted((run / "autoencoder/checkpoints").glob("step_*"))[:-2]:
        shutil.rmtree(old)
    again = prediff(
        small_disk,
        "train",
        "autoencoder",
        "--name",
        "full",
        "--max-time",
        "0",
        train_autoencoder__duration="400 steps",
        train_autoencoder__keep_every=3,
    )
    assert again.returncode == 75, again.stderr[-2000:]
    assert newest_step(run, "autoencoder") > kept
