"""A run's split is decided once: units stay whole, and later data change nothing."""

import csv
import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from radar_trees import random_vil, read_catalog, write_catalog, write_tree

from hpc.errors import UserError
from prediff.config import load_config
from prediff.data.catalog import Event
from prediff.data.open_data import open_split
from prediff.data.selection import Selection
from prediff.run_folder import RunFolder

PARTS = ("train", "validation", "test")
SETTINGS = ("data.frame_size=8", "data.context_frames=3", "data.forecast_frames=2")


def parts_of(folder, config):
    found = {}
    for part in PARTS:
        with open_split(folder, config, part, fixes_split=True) as windows:
            found |= {event.id: part for event in windows.events}
    return found


def append_events(root, times):
    """Let later data arrive: another file and more rows of the catalog."""
    rows = read_catalog(root)
    more = write_tree(root.parent / "more", {"vil/later.h5": random_vil(len(times), 8, 8, 25)})
    (root / "data" / "vil" / "later.h5").write_bytes(
        (more / "data" / "vil" / "later.h5").read_bytes()
    )
    new = [
        row | {"id": f"N{number}", "time_utc": f"{time:%Y-%m-%d %H:%M:%S}"}
        for number, (row, time) in enumerate(zip(read_catalog(more), times, strict=True))
    ]
    write_catalog(root, rows + new)


def test_data_that_arrive_later_never_move_an_event(tmp_path):
    root = write_tree(tmp_path / "tree", {"vil/a.h5": random_vil(12, 8, 8, 25)})
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    config = load_config(None, [*SETTINGS, f"data.root={root}"])
    before = parts_of(folder, config)
    assert set(before.values()) == set(PARTS)
    # The widest gap, which decides the test's date, would now be another one.
    append_events(root, [datetime(2017, 1, 1), datetime(2025, 1, 1), datetime(2025, 1, 2)])
    assert parts_of(folder, config) == before
    fresh = RunFolder(tmp_path / "fresh")
    fresh.path.mkdir()
    assert parts_of(fresh, config) != before


def test_a_split_that_cannot_be_read_is_not_made_anew(tmp_path):
    root = write_tree(tmp_path / "tree", {"vil/a.h5": random_vil(12, 8, 8, 25)})
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    config = load_config(None, [*SETTINGS, f"data.root={root}"])
    parts_of(folder, config)
    said = json.loads((folder.path / "split.json").read_text())
    assert sorted(name for part in PARTS for name in said[part]) == sorted(
        row["id"] for row in csv.DictReader((root / "CATALOG.csv").open())
    )
    (folder.path / "split.json").write_text("{")
    with pytest.raises(UserError, match="no split of a run that can be read"):
        parts_of(folder, config)


@given(
    groups=st.lists(st.integers(0, 6), min_size=8, max_size=40),
    rule=st.sampled_from(("by_day", "by_group")),
    seed=st.integers(0, 5),
)
def test_what_belongs_together_is_on_one_side(groups, rule, seed):
    random = np.random.default_rng(seed)
    events = [
        Event(
            id=f"E{number:03d}",
            file="a.h5",
            index=number,
            time=datetime(2019, 5, 28)
            + timedelta(
                days=group if rule == "by_day" else int(random.integers(9)), hours=number % 24
            ),
            group=f"g{group}",
        )
        for number, group in enumerate(groups)
    ]
    parts = Selection(split_rule=rule, validation_fraction=0.3, split_seed=seed).parts(events)
    assert set(parts) == {event.id for event in events}
    for event in events:
        for other in events:
            together = (
                event.group == other.group
                if rule == "by_group"
                else event.time.date() == other.time.date()
            )
            if together:
                assert parts[event.id] == parts[other.id]
