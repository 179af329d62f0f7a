from datetime import datetime

import h5py
import pytest
from broken_radar import BROKEN_CATALOG, BROKEN_FILES, BROKEN_SELECTION
from radar_trees import FILE_2019, MINI, copy_mini, random_vil, write_tree
from rich.console import Console

from hpc.errors import UserError
from prediff.data.catalog import catalog_sha256
from prediff.data.check import check
from prediff.data.selection import Selection


def printed(report, width=80):
    console = Console(width=width, record=True)
    report.print(console)
    return console.export_text()


def test_a_good_folder_has_no_problem_and_says_what_would_be_used():
    report = check(MINI, read_all=True)
    assert report.ok
    assert report.catalog_sha256 == catalog_sha256(MINI)
    assert (report.vil_rows, report.usable_events) == (10, 7)
    assert [(s.split, s.events, s.windows) for s in report.splits] == [
        ("train", 4, 12),
        ("validation", 1, 3),
        ("test", 2, 6),
    ]
    assert report.splits[2].first == datetime(2019, 6, 3, 4)
    assert [(f.rows, f.used_events, f.rows_read) for f in report.files] == [(4, 2, 2), (5, 5, 5)]


def test_values_describe_the_rows_that_were_read():
    (first, _) = check(MINI, read_all=True).files
    with h5py.File(MINI / "data" / first.file) as file:
        stored = file["vil"][1:3]
    vil = stored[stored != 255]
    assert len(vil) < stored.size
    assert first.mean == pytest.approx(vil.mean())
    assert first.rain_share == pytest.approx((vil >= 16).mean())
    assert first.maximum == vil.max()


def test_rows_that_are_not_used_are_noted_not_counted_as_problems():
    notes = check(MINI).notes
    assert "vil rows with missing pixels, not used: 1" in notes
    assert "ids listed more than once, not used: 1 (R000)" in notes
    assert any("of which the catalog says none: 4 of those" in note for note in notes)


def test_the_report_names_files_splits_and_verdict():
    text = printed(check(MINI))
    for expected in (
        "SEVIR_VIL_STORMEVENTS_2019_0101_0630 ",
        "25x16x16",
        "validation",
        "note: ids listed",
        "No problem found.",
    ):
        assert expected in text


@pytest.mark.parametrize("case", BROKEN_FILES | BROKEN_SELECTION)
def test_every_fault_of_a_folder_is_one_line_of_the_report(tmp_path, case):
    break_it, message = (BROKEN_FILES | BROKEN_SELECTION)[case]
    root = copy_mini(tmp_path)
    break_it(root)
    report = check(root)
    assert not report.ok
    (problem,) = report.problems
    with pytest.raises(UserError, match=message):
        raise UserError(problem)
    assert f"problem: {problem}\n" in printed(report)


@pytest.mark.parametrize("case", BROKEN_CATALOG)
def test_without_a_readable_catalog_there_is_no_report(tmp_path, case):
    break_it, message = BROKEN_CATALOG[case]
    root = copy_mini(tmp_path)
    break_it(root)
    with pytest.raises(UserError, match=message):
        check(root)


def test_a_damaged_row_in_the_middle_is_found_by_reading_all(tmp_path):
    root = write_tree(tmp_path, {FILE_2019: random_vil(1, 4, 4, 25)})
    path = root / "data" / FILE_2019
    with h5py.File(path, "w") as file:
        vil = file.create_dataset(
            "vil", data=random_vil(5, 4, 4, 25), chunks=(1, 4, 4, 25), compression="gzip"
        )
        middle = vil.id.get_chunk_info_by_coord((2, 0, 0, 0))
    catalog = root / "CATALOG.csv"
    header, row = catalog.read_text().splitlines()
    rows = [row.replace("R000", f"R00{i}").replace(".h5,0", f".h5,{i}") for i in range(5)]
    catalog.write_text("\n".join([header, *rows]) + "\n")
    with path.open("r+b") as file:
        file.seek(middle.byte_offset)
        file.write(b"\xff" * middle.size)
    selection = Selection(test_after=datetime(2017, 1, 1))
    quick = [p for p in check(root, selection=selection).problems if "is damaged at" in p]
    full = [
        p for p in check(root, selection=selection, read_all=True).problems if "is damaged at" in p
    ]
    assert not quick
    assert len(full) == 1
    assert "is damaged at row 2" in full[0]


def test_an_empty_test_set_is_a_problem_that_names_the_dates():
    report = check(MINI, selection=Selection(test_after=datetime(2020, 1, 1)))
    (problem,) = report.problems
    assert "split 'test': of 7 events from 2018-02-11 03:30:00 to 2019-06-20" in problem


def test_checking_changes_nothing(tmp_path):
    root = copy_mini(tmp_path)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    check(root, read_all=True)
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before
