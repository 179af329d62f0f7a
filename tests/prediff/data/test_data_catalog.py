import hashlib
from datetime import datetime

import pytest
from broken_radar import BROKEN_CATALOG
from radar_trees import EXPECTED, FILE_2018, MINI, copy_mini, read_catalog, write_catalog

from hpc.errors import UserError
from prediff.data.catalog import Event, catalog_sha256, read_rows, select_events

BOUNDARY = datetime(2019, 6, 1)


def selected_ids(root, **bounds):
    return [event.id for event in select_events(read_rows(root), **bounds)]


def test_training_and_test_events_are_the_references():
    assert selected_ids(MINI, until=BOUNDARY) == EXPECTED["train_noshuf/ids"]
    assert selected_ids(MINI, after=BOUNDARY) == EXPECTED["test/ids"]


def test_an_event_at_the_boundary_belongs_to_the_earlier_side_only():
    at_boundary = [r.event for r in read_rows(MINI) if r.event.time == BOUNDARY]
    assert [event.id for event in at_boundary] == ["S721"]
    assert "S721" in selected_ids(MINI, until=BOUNDARY)
    assert "S721" not in selected_ids(MINI, after=BOUNDARY)


def test_only_vil_rows_are_read():
    assert len(read_catalog(MINI)) == 19
    assert len(read_rows(MINI)) == 10


def test_an_id_with_two_complete_rows_is_dropped_and_an_incomplete_row_does_not_count(tmp_path):
    root = copy_mini(tmp_path)
    assert "R000" not in selected_ids(root)
    rows = read_catalog(root)
    rows[-1]["pct_missing"] = "2.0"
    write_catalog(root, rows)
    assert "R000" in selected_ids(root)


def test_events_are_ordered_by_id_as_strings(tmp_path):
    root = copy_mini(tmp_path)
    rows = read_catalog(root)
    write_catalog(root, rows[::-1])
    assert selected_ids(root) == sorted(selected_ids(root))
    assert selected_ids(root) == selected_ids(MINI)


def test_an_event_knows_where_and_when_it_is():
    event = select_events(read_rows(MINI))[0]
    assert (event.id, event.file, event.index) == ("R420", FILE_2018, 2)
    assert event.time == datetime(2018, 3, 1)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(49, range(-120, 121, 5)), (25, range(-120, 121, 10)), (4, range(0, 40, 10))],
)
def test_frame_times_come_from_sevirs_49_offsets_or_from_every_second_one(frames, expected):
    event = select_events(read_rows(MINI))[0]
    assert event.frame_minutes(frames) == list(expected)


def test_frame_times_are_ten_minutes_apart_where_the_catalog_is_silent():
    event = Event(id="R1", file="a.h5", index=0, time=BOUNDARY)
    assert event.frame_minutes(3) == [0, 10, 20]


def test_catalog_sha256_is_that_of_its_bytes():
    expected = hashlib.sha256((MINI / "CATALOG.csv").read_bytes()).hexdigest()
    assert catalog_sha256(MINI) == expected


@pytest.mark.parametrize("case", BROKEN_CATALOG)
def test_a_broken_catalog_is_one_clear_line(tmp_path, case):
    break_it, message = BROKEN_CATALOG[case]
    root = copy_mini(tmp_path)
    break_it(root)
    with pytest.raises(UserError, match=message) as caught:
        read_rows(root)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../../x", "/tmp/x", "a\nb", "\x1b[2Jx", "-x", "a b", "R$x$"])
def test_an_id_that_could_not_name_a_file_is_refused_with_its_line(tmp_path, name):
    root = copy_mini(tmp_path)
    rows = read_catalog(root)
    rows[0] |= {"id": name, "img_type": "vil"}
    write_catalog(root, rows)
    with pytest.raises(UserError, match=r"CATALOG\.csv, line \d+: id is .*mend the catalog"):
        read_rows(root)
