import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from hpc.checkpoint import format as checkpoint_format
from hpc.checkpoint.format import (
    DamagedCheckpoint,
    list_checkpoints,
    read_checkpoint,
    read_state,
    verify_checkpoint,
    write_checkpoint,
)
from hpc.durable_files import remove_leftovers


def example_arrays() -> dict[str, dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    weights = {
        "layer.weight": generator.standard_normal((3, 5)).astype(np.float32),
        "layer.bias": generator.standard_normal(5).astype(np.float16),
        "empty": np.zeros((0, 2), np.float32),
    }
    return {"model": weights, "optimizer": {"updates": np.array(7, np.int64)}}


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(
        tmp_path, step=1234, arrays=example_arrays(), state={"samples_seen": 9, "scores": {}}
    )


def test_what_is_read_is_what_was_written(checkpoint):
    assert checkpoint.name == "step_00001234"
    read = read_checkpoint(checkpoint)
    assert read.state == {"step": 1234, "samples_seen": 9, "scores": {}}
    for group, arrays in example_arrays().items():
        assert list(read.arrays[group]) == list(arrays)
        for name, array in arrays.items():
            assert read.arrays[group][name].dtype == array.dtype
            np.testing.assert_array_equal(read.arrays[group][name], array)


def test_the_files_are_plain_safetensors(checkpoint):
    arrays = load_file(checkpoint / "model.safetensors")
    np.testing.assert_array_equal(arrays["layer.weight"], example_arrays()["model"]["layer.weight"])


def test_transposed_arrays_are_written_in_their_own_order(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    path = write_checkpoint(tmp_path, step=1, arrays={"model": {"a": array}}, state={})
    np.testing.assert_array_equal(read_checkpoint(path).arrays["model"]["a"], array)


def test_a_flipped_bit_anywhere_is_found(checkpoint):
    files = sorted(checkpoint.iterdir())
    assert len(files) == 4
    for file in files:
        good = file.read_bytes()
        for position in range(len(good)):
            bad = bytearray(good)
            bad[position] ^= 1 << position % 8
            file.write_bytes(bad)
            with pytest.raises(DamagedCheckpoint):
                verify_checkpoint(checkpoint)
        file.write_bytes(good)
    verify_checkpoint(checkpoint)


@pytest.mark.parametrize("change", ["truncate", "lengthen", "remove"])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
def test_a_torn_or_missing_file_is_named(checkpoint, name, change):
    file = checkpoint / name
    content = file.read_bytes()
    if change == "truncate":
        file.write_bytes(content[:-1])
    elif change == "lengthen":
        file.write_bytes(content + b" ")
    else:
        file.unlink()
    with pytest.raises(DamagedCheckpoint, match=name):
        read_checkpoint(checkpoint)


def test_a_newer_format_is_refused_with_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_format, "FORMAT_VERSION", 2)
    path = write_checkpoint(tmp_path, step=1, arrays=example_arrays(), state={})
    monkeypatch.setattr(checkpoint_format, "FORMAT_VERSION", 1)
    with pytest.raises(DamagedCheckpoint, match="format 2, this software reads up to 1"):
        verify_checkpoint(path)


def test_a_state_that_is_no_object_is_damage(checkpoint):
    (checkpoint / "state.json").write_text("[1]")
    with pytest.raises(DamagedCheckpoint, match="no JSON object"):
        read_state(checkpoint)


def test_a_step_can_be_written_again(tmp_path, checkpoint):
    write_checkpoint(tmp_path, step=1234, arrays=example_arrays(), state={"samples_seen": 10})
    assert read_checkpoint(checkpoint).state["samples_seen"] == 10
    assert [path.name for path in tmp_path.iterdir()] == ["step_00001234"]


def test_a_failing_write_leaves_nothing_and_keeps_what_was_there(tmp_path, checkpoint):
    unwritable = {"model": {"a": np.zeros(2, np.complex64)}}
    with pytest.raises(KeyError):
        write_checkpoint(tmp_path, step=1234, arrays=unwritable, state={})
    assert [path.name for path in tmp_path.iterdir()] == ["step_00001234"]
    verify_checkpoint(checkpoint)


def test_a_full_disk_leaves_nothing_and_keeps_what_was_there(tmp_path, checkpoint):
    big = {"model": {"a": np.zeros(100_000, np.float32)}}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_checkpoint(tmp_path, step=1235, arrays=big, state={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00001234"]
    verify_checkpoint(checkpoint)


def test_only_step_folders_are_checkpoints(tmp_path, checkpoint):
    for name in (".step_00000001.0123456789-5-77-ab.aside", "step_x", "superseded_step_00000002"):
        (tmp_path / name).mkdir()
    (tmp_path / "step_00000005").touch()
    assert list_checkpoints(tmp_path) == [(1234, checkpoint)]
    assert list_checkpoints(tmp_path / "absent") == []


def test_everything_is_on_the_disk_before_one_rename_makes_it_visible(tmp_path, disk_watch):
    path = write_checkpoint(tmp_path, step=1, arrays=example_arrays(), state={})
    assert disk_watch.renamed_to == [path]
    disk_watch.assert_power_cut_safe()


WRITER = """
import sys, numpy as np
from pathlib import Path
from hpc.checkpoint.format import write_checkpoint
arrays = {g: {str(i): np.full(50_000, i, np.float32) for i in range(20)} for g in ("model", "ema")}
print("ready", flush=True)
for step in range(1, 10_000):
    write_checkpoint(Path(sys.argv[1]), step=step, arrays=arrays, state={})
"""


def test_a_writer_killed_at_any_moment_leaves_whole_checkpoints_only(tmp_path):
    leftovers = 0
    generator = np.random.default_rng(1)
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.1 + 0.2 * generator.random())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        for _, path in list_checkpoints(folder):
            verify_checkpoint(path)
        leftovers += len(remove_leftovers(folder, "step_*", sole_writer=True))
        assert all(path.name.startswith("step_") for path in folder.iterdir())
        shutil.rmtree(folder)
    assert leftovers > 0, "no kill hit a write: the test shows nothing"


def test_the_manifest_lists_every_file(checkpoint):
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    assert sorted(manifest["files"]) == ["model.safetensors", "optimizer.safetensors", "state.json"]
