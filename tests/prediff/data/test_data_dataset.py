from datetime import datetime

import h5py
import numpy as np
import pytest
from broken_radar import BROKEN_CATALOG, BROKEN_FILES, BROKEN_SELECTION, remove_file
from radar_trees import EXPECTED, FILE_2018, FILE_2019, MINI, copy_mini, random_vil, write_tree

from hpc.errors import UserError
from prediff.data.dataset import open_windows
from prediff.data.selection import Selection
from prediff.data.sevir import VilReader

NO_VALIDATION = Selection(validation_fraction=0)
AS_PUBLISHED = 1.0
"""What the reference takes a missing pixel (255) for."""

AS_REFERENCE = Selection(validation_fraction=0, split_rule="by_sequence")


def means_of_windows(data, items):
    return data.read_windows(items, missing=AS_PUBLISHED).mean(axis=(1, 2, 3, 4))


@pytest.mark.parametrize(
    ("split", "key", "selection"),
    [("train", "train_noshuf", NO_VALIDATION), ("test", "test", Selection())],
)
def test_windows_hold_the_references_frames(split, key, selection):
    data = open_windows(MINI, split=split, selection=selection)
    assert len(data) == EXPECTED[f"{key}/len"]
    assert [event.id for event in data.events] == EXPECTED[f"{key}/ids"]
    np.testing.assert_allclose(
        means_of_windows(data, range(len(data))), EXPECTED[f"{key}/first_means"], atol=1e-6
    )
    (window,) = data.read_windows([1], missing=AS_PUBLISHED)
    np.testing.assert_allclose(
        window.mean(axis=(1, 2, 3)), EXPECTED[f"{key}/frame_means_of_item1"], atol=1e-6
    )
    # The reference gives NHWT, here it is THWC.
    n, height, width, length = EXPECTED[f"{key}/shape"]
    assert window.shape == (length, height, width, n)
    assert window.dtype == np.float32


def test_the_split_by_sequence_visits_events_in_the_references_order():
    data = open_windows(MINI, split="train", selection=AS_REFERENCE)
    assert [event.id for event in data.events] == EXPECTED["train/ids"]
    in_order = np.lexsort((data.windows[:, 1], data.windows[:, 0]))
    np.testing.assert_allclose(
        means_of_windows(data, in_order), EXPECTED["train/first_means"], atol=1e-6
    )


def test_the_split_by_sequence_shares_the_windows_of_events_out():
    selection = Selection(split_rule="by_sequence", validation_fraction=0.2)
    train, validation = (
        {tuple(w) for w in open_windows(MINI, split=split, selection=selection).windows.tolist()}
        for split in ("train", "validation")
    )
    assert len(train) == 12
    assert not train & validation
    # PyTorch's random_split of 15 items with seed 0 gives items 9, 7 and 10 to validation.
    assert {3 * event + start // 6 for event, start in validation} == {9, 7, 10}
    assert {event for event, _ in train} & {event for event, _ in validation}


def test_no_event_is_on_both_sides_of_the_default_split():
    ids = {
        split: {event.id for event in open_windows(MINI, split=split).events}
        for split in ("train", "validation", "test", "all")
    }
    assert not ids["train"] & ids["validation"]
    assert not ids["train"] & ids["test"]
    assert ids["train"] | ids["validation"] | ids["test"] == ids["all"]
    assert ids["train"] | ids["validation"] == set(EXPECTED["train/ids"])


def test_start_and_end_bound_the_events():
    selection = Selection(
        start=datetime(2018, 3, 1), end=datetime(2019, 6, 3, 4), validation_fraction=0
    )
    data = open_windows(MINI, split="all", selection=selection)
    assert [event.id for event in data.events] == ["S011", "S301", "S431", "S721"]


def test_values_are_the_files_bytes_over_255():
    data = open_windows(MINI, split="all")
    event = data.events[2]
    with h5py.File(MINI / "data" / event.file) as file:
        raw = file["vil"][event.index]
    dry_where_missing = np.where(raw == 255, 0, raw)
    np.testing.assert_array_equal(
        np.rint(data.read_event(2)[..., 0] * 255), np.moveaxis(dry_where_missing, -1, 0)
    )
    assert (raw == 255).any()
    assert data.read_event(2).max() <= 1


def test_missing_pixels_are_dry_in_training_and_can_be_told_from_dry_ones():
    data = open_windows(MINI, split="all")
    dry, told = (data.read_windows(range(3), missing=value) for value in (0.0, np.nan))
    missing = np.isnan(told)
    assert missing.any()
    assert not dry[missing].any()
    np.testing.assert_array_equal(dry[~missing], told[~missing])


def test_windows_frames_and_events_are_cut_from_the_same_pixels():
    data = open_windows(MINI, split="test")
    events = np.stack([data.read_event(i) for i in range(len(data.events))])
    for item, window in enumerate(data.read_windows(range(len(data)))):
        event, start = data.windows[item]
        np.testing.assert_array_equal(window, events[event, start : start + 13])
    assert data.frame_count == 50
    np.testing.assert_array_equal(data.read_frames(range(50)), events.reshape(-1, 16, 16, 1))


def test_frames_are_those_that_windows_cover():
    data = open_windows(MINI, split="test", selection=Selection(length=3, stride=11))
    assert sorted({frame for _, frame in data.frames.tolist()}) == [0, 1, 2, 11, 12, 13, 22, 23, 24]


def test_reading_from_files_gives_what_the_cache_gives():
    cached, lazy = (open_windows(MINI, split="train", cache_bytes=size) for size in (10**9, 0))
    items = [3, 0, 3, 11]
    np.testing.assert_array_equal(cached.read_windows(items), lazy.read_windows(items))
    np.testing.assert_array_equal(cached.read_frames(items), lazy.read_frames(items))


def test_the_cache_needs_no_file_a_second_time(tmp_path):
    root = copy_mini(tmp_path)
    data = open_windows(root, split="train")
    first = data.read_windows(range(len(data)))
    data.close()
    remove_file(root)
    np.testing.assert_array_equal(data.read_windows(range(len(data))), first)


def test_a_closed_dataset_opens_its_files_again():
    with open_windows(MINI, split="test", cache_bytes=0) as data:
        first = data.read_windows([0])
    np.testing.assert_array_equal(data.read_windows([0]), first)


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_larger_frames_are_reduced_by_block_maximum(cache_bytes):
    whole = open_windows(MINI, split="test").read_windows(range(6), missing=np.nan)
    data = open_windows(MINI, split="test", frame_size=(8, 8), cache_bytes=cache_bytes)
    assert (data.frame_shape.height, data.frame_shape.width) == (8, 8)
    corners = [whole[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)]
    # A block with a missing pixel is missing.
    reduced = data.read_windows(range(6), missing=np.nan)
    np.testing.assert_array_equal(reduced, np.max(corners, axis=0))
    assert data.read_event(1).shape == (25, 8, 8, 1)
    assert data.read_frames([3]).shape == (1, 8, 8, 1)


def test_sevir_itself_with_49_frames_is_read_too(tmp_path):
    root = write_tree(tmp_path, {"vil/a.h5": random_vil(4, 12, 9, 49)})
    selection = Selection(length=25, stride=12, test_after=datetime(2018, 1, 3))
    data = open_windows(root, split="train", selection=selection)
    assert data.read_windows([0]).shape == (1, 25, 12, 9, 1)
    assert data.windows[:, 1].tolist()[:3] == [0, 12, 24]


@pytest.mark.parametrize("case", BROKEN_CATALOG | BROKEN_FILES | BROKEN_SELECTION)
def test_opening_broken_data_is_one_clear_line(tmp_path, case):
    break_it, message = (BROKEN_CATALOG | BROKEN_FILES | BROKEN_SELECTION)[case]
    root = copy_mini(tmp_path)
    break_it(root)
    with pytest.raises(UserError, match=message) as caught:
        open_windows(root, split="train")
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_a_damaged_row_is_found_when_it_is_read(tmp_path, cache_bytes):
    root = copy_mini(tmp_path)
    data = open_windows(root, split="test", cache_bytes=cache_bytes)
    damage_chunks(root / "data" / FILE_2019)
    data.close()
    with pytest.raises(UserError, match="is damaged at row"):
        data.read_windows(range(len(data)))


def damage_chunks(path):
    """Overwrite the compressed pixels, not the structure around them."""
    with h5py.File(path) as file:
        vil = file["vil"]
        chunks = [vil.id.get_chunk_info(i) for i in range(vil.id.get_num_chunks())]
    with path.open("r+b") as file:
        for chunk in chunks:
            file.seek(chunk.byte_offset)
            file.write(b"\xff" * chunk.size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_size": (128, 128)}, "expected frames of 128x128 or a whole .* found 16x16"),
        ({"frame_size": (5, 5)}, "expected frames of 5x5 or a whole multiple, found 16x16"),
        ({"frame_size": (8, 16)}, "expected frames of 8x16 or a whole multiple, found 16x16"),
        ({"selection": Selection(length=26)}, "26 frames does not fit into events of 25"),
        (
            {"selection": Selection(test_after=datetime(2017, 1, 1))},
            "split 'train'.*those after 2017-01-01.*data.test_from",
        ),
        ({"selection": Selection(end=datetime(2017, 1, 1))}, "beginning and 2017-01-01"),
    ],
)
def test_a_selection_that_does_not_fit_the_data_says_what_to_change(options, message):
    with pytest.raises(UserError, match=message):
        open_windows(MINI, split="train", **options)


def test_no_validation_events_is_an_error_only_for_who_asks_for_them():
    assert len(open_windows(MINI, split="train", selection=NO_VALIDATION)) == 15
    with pytest.raises(UserError, match="and 0 of the others validate"):
        open_windows(MINI, split="validation", selection=NO_VALIDATION)


def test_a_reader_leaves_no_file_open():
    reader = VilReader(MINI)
    dataset = reader.dataset(FILE_2018)
    assert reader.dataset(FILE_2018) is dataset
    reader.close()
    assert not dataset.id.valid
