"""An archive becomes a data folder: right pixels, right times, nothing silently left out."""

import csv
import shutil

import h5py
import numpy as np
import pytest
from service_files import NODATA, odim_file
from typer.testing import CliRunner

from hpc.errors import UserError
from prediff.cli import app
from prediff.data.catalog import read_rows
from prediff.data.check import check
from prediff.data.dataset import open_windows
from prediff.data.importing.plan import make_plan
from prediff.data.importing.run import ImportSettings, import_archive
from prediff.data.quantity import RAIN_RATE, REFLECTIVITY, RainRelation
from prediff.data.selection import Selection
from prediff.forecasting.input import read_frames

pytest.importorskip("pyproj")

SETTINGS = {"frames": 4, "side_km": 32.0, "pixels": 8, "dry_share": 1.0}
"""Two tiles of 8 x 8 pixels of 4 km, from composites of 33 x 17 pixels of 2 km."""


def clock(minute):
    return f"{10 + minute // 60:02d}{minute % 60:02d}00"


def codes_at(minute, *, rows=17, columns=33):
    """Rain in the south that moves east by a pixel every 5 minutes; rows from the north."""
    codes = np.zeros((rows, columns), np.uint8)
    codes[-6:-2, minute // 5 : minute // 5 + 6] = 124  # 30 dBZ
    return codes


@pytest.fixture
def archive(tmp_path):
    """Eleven composites, 5 minutes apart, the seventh missing: stretches of 6 and 5."""
    folder = tmp_path / "archive" / "2020"
    folder.mkdir(parents=True)
    for minute in [*range(0, 30, 5), *range(35, 60, 5)]:
        odim_file(folder / f"{99 - minute}.h5", time=clock(minute), codes=codes_at(minute))
    return folder.parent


def settings(**changed):
    return ImportSettings(**{"label": "dk", **SETTINGS, **changed})


def test_windows_never_bridge_a_gap_and_the_rest_is_told(archive):
    plan = make_plan(archive, frames=4, minutes=None)
    assert plan.cadence_minutes == 5
    assert [window.label for window in plan.windows] == ["20200601-1000", "20200601-1035"]
    text = "\n".join(plan.lines())
    assert "11 files with 11 images; 2 windows of 8 images" in text
    assert "left out: 1 gaps, as 2020-06-01 10:25 to 2020-06-01 10:35" in text
    assert "left out: 3 images of stretches too short" in text


def test_a_coarser_cadence_takes_every_second_image_and_says_so(archive):
    plan = make_plan(archive, frames=3, minutes=10)
    assert [str(f.time)[11:16] for f in plan.windows[0].frames] == ["10:00", "10:10", "10:20"]
    assert plan.left_out["images between two steps of the cadence"] == 5


def test_the_folder_passes_its_own_check_and_opens(archive, tmp_path):
    root = tmp_path / "tree"
    result = import_archive(archive, root, settings=settings())
    assert (result.windows_written, result.events) == (2, 4)
    report = check(root, selection=Selection(length=4, stride=4, validation_fraction=0.5),
                   read_all=True)  # fmt: skip
    assert report.usable_events == 4
    assert not [line for line in report.problems if "no usable event" not in line]
    with open_windows(root, split="all", selection=Selection(length=4, stride=4)) as data:
        assert data.cadence_minutes == 5
        assert data.read_windows([0]).shape == (1, 4, 8, 8, 1)
        assert data.pixel_metres(0) == 4000


def test_pixels_values_and_place_are_those_of_the_composite(archive, tmp_path):
    root = tmp_path / "tree"
    import_archive(archive, root, settings=settings())
    event = next(row.event for row in read_rows(root) if row.event.id.endswith("1000-r00c00"))
    with h5py.File(root / "data" / event.file) as file:
        stored = file["reflectivity"][event.index]
    # 33 x 17 pixels of 2 km hold two tiles of 16, whose edges are edges of pixels.
    composite = codes_at(0)[::-1]
    expected = composite[:16, :16].reshape(8, 2, 8, 2).max(axis=(1, 3))
    np.testing.assert_array_equal(stored[..., 0] > 0, expected > 0)
    assert set(np.unique(stored)) == {0, int(REFLECTIVITY.to_bytes(30.0))}
    frames = read_frames(root / "data" / event.file, event=event.id, quantity=REFLECTIVITY)
    assert frames.encoding["grid_mapping"] == "crs"
    one = odim_file(tmp_path / "one.h5", time=clock(0), codes=codes_at(0))
    whole = read_frames(one, quantity=REFLECTIVITY)
    assert abs(float(frames.x[0]) - float(whole.x[:2].mean())) < 1
    assert abs(float(frames.y[0]) - float(whole.y[:2].mean())) < 1


def test_dry_windows_are_kept_in_a_known_share_and_weighed(archive, tmp_path):
    result = import_archive(archive, tmp_path / "t", settings=settings(dry_share=1e-9))
    assert result.left_out["tiles with little rain, which others stand for"] == 2
    rows = list(csv.DictReader((tmp_path / "t" / "CATALOG.csv").open()))
    assert {row["weight"] for row in rows} == {"1.0000"}
    assert all(float(row["rain_share"]) > 0.04 for row in rows)
    more = import_archive(archive, tmp_path / "u", settings=settings(dry_share=0.999, seed=1))
    assert more.events == 4
    weights = sorted(row.event.weight for row in read_rows(tmp_path / "u"))
    assert weights == pytest.approx([1, 1, 1 / 0.999, 1 / 0.999], abs=1e-4)


def test_reflectivity_becomes_rain_by_the_relation_that_is_given(archive, tmp_path):
    import_archive(archive, tmp_path / "t", settings=settings(quantity="rain_rate", a=316, b=1.5))
    event = next(r.event for r in read_rows(tmp_path / "t") if r.event.id.endswith("1000-r00c00"))
    with h5py.File(tmp_path / "t" / "data" / event.file) as file:
        highest = file["rain_rate"][event.index].max()
    assert highest == RAIN_RATE.to_bytes(RainRelation(a=316, b=1.5).to_rain(30.0))


def test_every_event_carries_licence_attribution_and_group(archive, tmp_path):
    said = {"licence": "CC BY 4.0", "attribution": "DMI, 2020"}
    import_archive(archive, tmp_path / "t", settings=settings(**said))
    for row in csv.DictReader((tmp_path / "t" / "CATALOG.csv").open()):
        assert (row["licence"], row["attribution"]) == ("CC BY 4.0", "DMI, 2020")
        assert (row["group"], row["producer"]) == ("dk-20200601", "ORG:247")


def test_a_truncated_file_is_named_left_out_and_counted_or_stops_a_strict_import(archive, tmp_path):
    bad = archive / "2020" / "94.h5"
    bad.write_bytes(bad.read_bytes()[:900])
    plan = make_plan(archive, frames=4, minutes=5)
    assert plan.left_out["files that cannot be read"] == 1
    assert "94.h5" in plan.examples["files that cannot be read"]
    with pytest.raises(UserError, match=r"94\.h5"):
        make_plan(archive, frames=4, minutes=5, strict=True)


def test_tiles_with_missing_pixels_are_left_out_and_counted(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    for minute in range(0, 20, 5):
        codes = codes_at(minute)
        codes[8, 2] = NODATA
        odim_file(folder / f"{minute}.h5", time=clock(minute), codes=codes)
    result = import_archive(folder, tmp_path / "t", settings=settings())
    assert result.left_out == {"tiles with missing pixels": 1}
    assert [row.event.id for row in read_rows(tmp_path / "t")] == ["dk-20200601-1000-r00c01"]


def test_a_window_of_two_grids_is_left_out_and_named(archive, tmp_path):
    odim_file(archive / "2020" / "89.h5", time=clock(10), codes=codes_at(10), scale=1000.0)
    result = import_archive(archive, tmp_path / "t", settings=settings())
    assert "different grids" in result.plan.examples["windows with a file that cannot be read"]
    assert result.events == 2


def test_an_import_that_was_killed_goes_on_and_gives_the_same(archive, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    import_archive(archive, once, settings=settings())
    import_archive(archive, twice, settings=settings())
    part = sorted((twice / ".import").iterdir())[-1]
    part.unlink()
    (twice / "CATALOG.csv").unlink()
    again = import_archive(archive, twice, settings=settings())
    assert (again.windows_written, again.windows_kept) == (1, 1)
    assert (once / "CATALOG.csv").read_bytes() == (twice / "CATALOG.csv").read_bytes()


def test_another_import_into_the_folder_is_refused_and_changes_nothing(archive, tmp_path):
    root = tmp_path / "t"
    import_archive(archive, root, settings=settings())
    before = (root / "CATALOG.csv").read_bytes()
    with pytest.raises(UserError, match="other settings"):
        import_archive(archive, root, settings=settings(pixels=16))
    assert (root / "CATALOG.csv").read_bytes() == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other data"):
        import_archive(archive, tmp_path / "full", settings=settings())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": "../x"}, "--label"),
        ({"quantity": "snow"}, "no quantity 'snow'"),
        ({"dry_share": 0.0}, "--dry-share"),
        ({"a": -1.0}, "must be positive"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changed, said):
    with pytest.raises(UserError, match=said):
        settings(**changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"side_km": 500.0}, "holds no tile of 500 km"),
        ({"quantity": "vil"}, "does not follow from the other"),
        ({"frames": 9}, "no window of 9 frames"),
    ],
)
def test_what_the_archive_cannot_become_is_refused_before_anything_is_written(
    archive, tmp_path, changed, said
):
    with pytest.raises(UserError, match=said):
        import_archive(archive, tmp_path / "t", settings=settings(**changed))
    assert not (tmp_path / "t").exists()


def test_the_command_plans_without_writing_and_then_imports(archive, tmp_path):
    root = tmp_path / "tree"
    words = ["data", "import", archive, root, "--label", "dk", "--frames", 4, "--side-km", 32,
             "--pixels", 8, "--dry-share", 1]  # fmt: skip
    planned = CliRunner().invoke(app, [*map(str, words), "--dry-run"], catch_exceptions=False)
    assert "2 windows of 8 images" in planned.output
    assert not root.exists()
    made = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert f"{root}: 4 events; wrote 2 windows" in made.output


def test_a_folder_of_single_files_is_an_input_of_a_forecast(archive, tmp_path):
    folder = tmp_path / "recent"
    folder.mkdir()
    for number in (99, 94, 89):
        shutil.copy(archive / "2020" / f"{number}.h5", folder)
    frames = read_frames(folder, quantity=REFLECTIVITY)
    assert dict(frames.sizes) == {"time": 3, "y": 17, "x": 33}
    assert np.nanmax(frames.values) == REFLECTIVITY.encode(30.0)
    shutil.copy(folder / "99.h5", folder / "copy.h5")
    with pytest.raises(UserError, match="both hold a frame of 2020-06-01 10:00"):
        read_frames(folder, quantity=REFLECTIVITY)
