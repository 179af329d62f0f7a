import logging
import shutil
import subprocess
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.checkpoint import store
from hpc.checkpoint.format import list_checkpoints, read_checkpoint
from hpc.checkpoint.store import (
    CheckpointWriter,
    Rotation,
    find_best,
    find_latest,
)
from hpc.errors import UserError


def save(writer: CheckpointWriter, step: int, **scores: float) -> None:
    arrays = {"model": {"w": np.full(10, step, np.float32)}}
    writer.save(step=step, arrays=arrays, state={"scores": scores})


def steps(folder) -> list[int]:
    return [step for step, _ in list_checkpoints(folder)]


def damage(folder, step: int) -> None:
    file = folder / f"step_{step:08d}" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")


@pytest.fixture
def three(tmp_path):
    writer = CheckpointWriter(tmp_path, rotation=Rotation(keep_last=3))
    for step in (1, 2, 3):
        save(writer, step)
    writer.finish()
    return tmp_path


def test_the_last_ones_the_round_ones_and_the_best_are_kept(tmp_path):
    rotation = Rotation(keep_last=2, keep_every=5, best="crps")
    writer = CheckpointWriter(tmp_path, rotation=rotation)
    for step, crps in enumerate([9.0, 7.0, 1.0, 8.0, 6.0, 5.0, 4.0, float("nan"), 3.0], start=1):
        save(writer, step, crps=crps)
    writer.finish()
    assert steps(tmp_path) == [3, 5, 8, 9]
    assert find_best(tmp_path, score="crps").name == "step_00000003"
    assert find_best(tmp_path, score="csi") is None


@given(
    scores=st.dictionaries(st.integers(1, 30), st.none() | st.floats(0, 9), min_size=1),
    keep_last=st.integers(1, 5),
    keep_every=st.none() | st.integers(1, 7),
)
def test_rotation_never_deletes_the_newest_or_the_best(scores, keep_last, keep_every):
    rotation = Rotation(keep_last=keep_last, keep_every=keep_every, best="s")
    doomed = rotation.doomed(scores)
    assert not set(doomed) & set(sorted(scores)[-keep_last:])
    known = [score for score in scores.values() if score is not None]
    if known:
        assert any(scores[step] == min(known) for step in set(scores) - set(doomed))


def test_saving_returns_before_the_checkpoint_is_written(tmp_path, monkeypatch):
    slow = store.write_checkpoint

    def write(*args, **kwargs):
        time.sleep(0.3)
        return slow(*args, **kwargs)

    monkeypatch.setattr(store, "write_checkpoint", write)
    writer = CheckpointWriter(tmp_path, rotation=Rotation())
    began = time.perf_counter()
    save(writer, 1)
    assert time.perf_counter() - began < 0.2
    assert steps(tmp_path) == []
    writer.finish()
    assert steps(tmp_path) == [1]


def test_a_delete_that_fails_is_one_line_and_no_crash(tmp_path, monkeypatch, caplog):
    def refuse(path):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(store, "remove_folder", refuse)
    writer = CheckpointWriter(tmp_path, rotation=Rotation(keep_last=1))
    for step in (1, 2):
        save(writer, step)
    writer.finish()
    assert steps(tmp_path) == [1, 2]
    assert "step_00000001 stays: Permission denied" in caplog.text


def test_latest_passes_over_damaged_checkpoints_with_a_line_each(three, caplog):
    damage(three, 3)
    damage(three, 2)
    assert find_latest(three).name == "step_00000001"
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 2


def test_a_folder_of_damaged_checkpoints_only_is_an_error_and_not_a_fresh_start(three):
    for step in (1, 2, 3):
        damage(three, step)
    with pytest.raises(UserError, match="none of the 3 checkpoints"):
        find_latest(three)


def test_an_abandoned_future_is_set_aside(three, caplog):
    damage(three, 3)
    writer = CheckpointWriter(three, rotation=Rotation(keep_last=1))
    save(writer, 2)
    writer.finish()
    assert steps(three) == [2]
    assert (three / "superseded_step_00000003").is_dir()
    assert "earlier attempt" in caplog.text


def test_leftovers_are_cleaned_by_the_next_writer(tmp_path):
    (tmp_path / ".step_00000001.0123456789-5-77-ab.aside").mkdir()
    CheckpointWriter(tmp_path, rotation=Rotation())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [{"keep_last": 0}, {"keep_every": 0}])
def test_a_rotation_that_keeps_nothing_is_refused(bad):
    with pytest.raises(UserError, match="keep"):
        Rotation(**bad)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
        ).returncode
    ):
        pytest.skip("this user cannot mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_a_clear_line_and_the_last_good_checkpoint_survives(small_disk, caplog):
    writer = CheckpointWriter(small_disk, rotation=Rotation(keep_last=1))
    save(writer, 1)
    arrays = {"model": {"w": np.zeros(500_000, np.float32)}}
    writer.save(step=2, arrays=arrays, state={})
    with pytest.raises(UserError, match=r"No space left on device.*newest one is .*step_00000001"):
        writer.finish()
    assert "No space left on device" in caplog.text
    np.testing.assert_array_equal(
        read_checkpoint(find_latest(small_disk)).arrays["model"]["w"], np.full(10, 1, np.float32)
    )
    save(writer, 3)
    writer.finish()
    assert steps(small_disk) == [3]
