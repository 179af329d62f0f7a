import csv
import json
from datetime import datetime

import h5py
import numpy as np
import pytest
from radar_trees import copy_mini, read_catalog

from hpc.errors import UserError
from prediff.data import synthesize as module
from prediff.data.catalog import COLUMNS
from prediff.data.check import check
from prediff.data.dataset import open_windows
from prediff.data.synthesize import Recipe, synthesize

SMALL = Recipe(events=8, size=16, frames=13, seed=3, test_fraction=0.25)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic") / "data"
    assert synthesize(root, recipe=SMALL)
    return root


def contents(root):
    pixels = {}
    for path in sorted(root.rglob("*.h5")):
        with h5py.File(path) as file:
            pixels[str(path.relative_to(root))] = file["vil"][:].tobytes()
    return pixels, (root / "CATALOG.csv").read_bytes()


def test_the_layout_is_sevir_lrs(tree):
    with (tree / "CATALOG.csv").open() as file:
        assert tuple(next(csv.reader(file))) == COLUMNS
    rows = read_catalog(tree)
    assert len({row["id"] for row in rows}) == len(rows) == 8
    for row in rows:
        year = row["time_utc"][:4]
        assert row["file_name"].startswith(f"vil/{year}/SEVIR_VIL_RANDOMEVENTS_{year}_")
        with h5py.File(tree / "data" / row["file_name"]) as file:
            assert list(file) == ["vil"]
            assert file["vil"].shape[1:] == (16, 16, 13)
            assert file["vil"].dtype == np.uint8
            assert int(row["file_index"]) < len(file["vil"])
    assert {str(p.relative_to(tree / "data")) for p in tree.rglob("*.h5")} == {
        row["file_name"] for row in rows
    }


def test_the_data_pass_the_check_and_say_that_they_are_synthetic(tree):
    report = check(tree, read_all=True)
    assert report.ok
    assert "these are synthetic storms, not observations" in report.notes


def test_dates_lie_on_both_sides_of_the_test_boundary(tree):
    assert len(open_windows(tree, split="test").events) == 2
    assert len(open_windows(tree, split="train").events) == 5
    assert len(open_windows(tree, split="validation").events) == 1


@pytest.mark.parametrize(("events", "fraction"), [(5, 0.2), (60, 0.2), (3000, 0.4)])
def test_the_widest_gap_between_dates_is_the_test_boundary(events, fraction):
    recipe = Recipe(events=events, test_fraction=fraction, test_after=datetime(2017, 1, 1))
    times = [event.time for event in module._date_events(recipe)]
    assert times == sorted(set(times))
    assert sum(time > recipe.test_after for time in times) == round(events * fraction)
    gaps = np.diff(times)
    widest = int(np.argmax(gaps))
    assert times[widest] < recipe.test_after < times[widest + 1]
    assert gaps[widest] > 2 * np.delete(gaps, widest).max()


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_other_storms(tree, tmp_path):
    synthesize(tmp_path / "same", recipe=SMALL)
    assert contents(tmp_path / "same") == contents(tree)
    synthesize(
        tmp_path / "other",
        recipe=Recipe(events=8, size=16, frames=13, seed=4, test_fraction=0.25),
    )
    assert contents(tmp_path / "other") != contents(tree)


def test_the_catalog_gives_the_times_of_the_frames(tree):
    (event, *_) = open_windows(tree, split="test").events
    assert event.frame_minutes(13) == list(range(-60, 61, 10))


def test_making_the_same_again_does_nothing(tree):
    before = {p: p.stat().st_mtime_ns for p in tree.rglob("*")}
    assert not synthesize(tree, recipe=SMALL)
    assert {p: p.stat().st_mtime_ns for p in tree.rglob("*")} == before


def test_an_empty_folder_is_filled(tmp_path):
    assert synthesize(tmp_path, recipe=SMALL)
    assert check(tmp_path).ok


@pytest.mark.parametrize("existing", ["other data", "other recipe", "a file"])
def test_what_exists_is_not_overwritten(tmp_path, existing):
    target = tmp_path / "there"
    if existing == "a file":
        target.write_text("mine")
    elif existing == "other data":
        target = copy_mini(tmp_path)
    else:
        synthesize(target, recipe=Recipe(events=2, size=8, frames=1))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="holds other data"):
        synthesize(target, recipe=SMALL)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_an_interruption_leaves_nothing_behind(tmp_path):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "new", recipe=SMALL, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        synthesize(tmp_path / "file" / "data", recipe=SMALL)


def test_the_recipe_lies_beside_the_data(tree):
    recipe = json.loads((tree / "synthetic.json").read_text())
    assert recipe == {
        "events": 8,
        "size": 16,
        "frames": 13,
        "seed": 3,
        "test_after": "2019-06-01T00:00:00",
        "test_fraction": 0.25,
        "version": 1,
    }


@pytest.mark.parametrize(
    "wrong",
    [{"events": 1}, {"size": 4}, {"frames": 0}, {"seed": -1}, {"test_fraction": 1.0}],
)
def test_a_recipe_out_of_range_names_the_value(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"{name} is {value}, expected"):
        Recipe(**wrong)
