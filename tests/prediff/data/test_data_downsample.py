import os

import h5py
import numpy as np
import pytest
from broken_radar import BROKEN_FILES
from radar_trees import copy_mini, random_vil, write_tree

from hpc.durable_files import aside_path
from hpc.errors import UserError
from prediff.data.dataset import open_windows
from prediff.data.downsample import downsample, downsample_frames
from prediff.data.selection import Selection

FILE_A, FILE_B = "vil/2018/a.h5", "vil/2018/b.h5"


@pytest.fixture
def sevir(tmp_path):
    """A small SEVIR: 49 frames of 24x18."""
    return write_tree(
        tmp_path / "sevir",
        {FILE_A: random_vil(3, 24, 18, 49), FILE_B: random_vil(2, 24, 18, 49, seed=1)},
    )


def vil_of(root, file):
    with h5py.File(root / "data" / file) as opened:
        return opened["vil"][:]


def expected_of(vil):
    """The plain loop that MODEL section 6 describes."""
    events, height, width, _ = vil.shape
    out = np.zeros((events, height // 3, width // 3, 25), np.uint8)
    for y in range(height // 3):
        for x in range(width // 3):
            for t in range(25):
                block = vil[:, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3, 2 * t]
                out[:, y, x, t] = block.max(axis=(1, 2))
    return out


def test_every_second_frame_and_the_maximum_of_3x3_pixels_remain(sevir, tmp_path):
    result = downsample(sevir, tmp_path / "lr")
    assert (result.files_written, result.files_kept, result.events_written) == (2, 0, 5)
    for file in (FILE_A, FILE_B):
        made = vil_of(tmp_path / "lr", file)
        assert made.dtype == np.uint8
        np.testing.assert_array_equal(made, expected_of(vil_of(sevir, file)))


def test_an_even_number_of_frames_is_halved():
    frames = random_vil(4, 3, 3)
    np.testing.assert_array_equal(downsample_frames(frames)[:, 0, 0], frames[::2].max(axis=(1, 2)))


def test_the_result_is_read_like_sevir_lr_with_the_same_catalog(sevir, tmp_path):
    downsample(sevir, tmp_path / "lr")
    assert (tmp_path / "lr/CATALOG.csv").read_bytes() == (sevir / "CATALOG.csv").read_bytes()
    data = open_windows(tmp_path / "lr", split="train", selection=Selection(validation_fraction=0))
    assert data.read_windows([0]).shape == (1, 13, 8, 6, 1)


def test_progress_counts_every_event_once(sevir, tmp_path):
    seen = []
    downsample(sevir, tmp_path / "lr", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 5) for n in range(1, 6)]


def test_a_second_run_does_nothing(sevir, tmp_path):
    downsample(sevir, tmp_path / "lr")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "lr").rglob("*")}
    result = downsample(sevir, tmp_path / "lr")
    assert (result.files_written, result.files_kept) == (0, 2)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "lr").rglob("*")} == before


def test_an_interrupted_run_leaves_whole_files_only_and_is_continued(sevir, tmp_path):
    class Interrupt(Exception):
        pass

    def interrupt(done, total):
        if done == 4:
            raise Interrupt

    lr = tmp_path / "lr"
    with pytest.raises(Interrupt):
        downsample(sevir, lr, progress=interrupt)
    assert sorted(p.name for p in lr.rglob("*") if p.is_file()) == ["a.h5"]
    result = downsample(sevir, lr)
    assert (result.files_written, result.files_kept) == (1, 1)
    np.testing.assert_array_equal(vil_of(lr, FILE_B), expected_of(vil_of(sevir, FILE_B)))


def test_a_damaged_or_outdated_result_is_made_again(sevir, tmp_path):
    lr = tmp_path / "lr"
    downsample(sevir, lr)
    (lr / "data" / FILE_A).write_bytes(b"junk")
    with h5py.File(sevir / "data" / FILE_B, "w") as file:
        file["vil"] = random_vil(4, 24, 18, 49, seed=2)
    result = downsample(sevir, lr)
    assert result.files_written == 2
    for file in (FILE_A, FILE_B):
        np.testing.assert_array_equal(vil_of(lr, file), expected_of(vil_of(sevir, file)))


def test_what_a_killed_run_left_is_cleaned_up(sevir, tmp_path):
    folder = tmp_path / "lr/data/vil/2018"
    folder.mkdir(parents=True)
    alive = aside_path(folder / "a.h5")
    alive.write_bytes(b"another run is at it")
    dead = folder / alive.name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-")  # no such process
    dead.write_bytes(b"half")
    downsample(sevir, tmp_path / "lr")
    assert not dead.exists()
    assert alive.exists()


@pytest.mark.parametrize("case", sorted(set(BROKEN_FILES) - {"another size", "too few rows"}))
def test_a_broken_source_is_refused_before_anything_is_written(tmp_path, case):
    break_it, message = BROKEN_FILES[case]
    source = copy_mini(tmp_path)
    break_it(source)
    with pytest.raises(UserError, match=message):
        downsample(source, tmp_path / "lr")
    assert not (tmp_path / "lr").exists()


def test_frames_that_3_does_not_divide_are_refused(tmp_path):
    with pytest.raises(UserError, match="frames of 16x16, which 3 does not divide"):
        downsample(copy_mini(tmp_path), tmp_path / "lr")


def test_another_data_set_is_not_overwritten(sevir, tmp_path):
    mini = copy_mini(tmp_path)
    before = {p: p.read_bytes() for p in mini.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="another data set"):
        downsample(sevir, mini)
    with pytest.raises(UserError, match="the source itself"):
        downsample(sevir, sevir / "data" / "..")
    assert {p: p.read_bytes() for p in mini.rglob("*") if p.is_file()} == before
