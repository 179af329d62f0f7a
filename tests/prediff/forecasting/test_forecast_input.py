"""Frames from files: what is read, in which unit, and what is refused in one line."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from radar_files import START, radar_file, radar_frames

from hpc.errors import UserError
from prediff.data.vil import vil_to_water, water_to_vil
from prediff.forecasting.context import (
    check_cadence,
    check_valid,
    choose_context,
    fit_to_size,
)
from prediff.forecasting.input import read_frames, read_newest_frames
from prediff.forecasting.projection import lambert_azimuthal_equal_area

MINI = Path(__file__).parents[2] / "data" / "sevirlr_mini"


def minutes_after_start(frames):
    return ((frames["time"].values - START) / np.timedelta64(60, "s")).tolist()


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_file_gives_its_frames_with_times_grid_and_projection(tmp_path, suffix):
    frames = radar_frames()
    frames[1, 2, 3] = np.nan
    found = read_frames(radar_file(tmp_path / f"radar{suffix}", frames))
    np.testing.assert_array_equal(found.values, frames.values)
    assert minutes_after_start(found) == [0, 10, 20]
    assert found.encoding["grid_mapping"] == "crs"
    assert found["crs"].attrs["proj4"] == "+proj=laea"
    np.testing.assert_array_equal(found["lat"], frames["lat"])


def test_liquid_water_is_coded_as_vil(tmp_path):
    code = np.array([0, 6, 12, 18, 19, 100, 254])
    np.testing.assert_allclose(water_to_vil(vil_to_water(code)), code, atol=1e-9)
    frames = radar_frames(units="kg m-2").rename("vil")
    frames.values[:] = vil_to_water(np.round(frames.values))
    found = read_frames(radar_file(tmp_path / "water.nc", frames))
    assert found.max() > 150
    np.testing.assert_allclose(vil_to_water(found), frames, rtol=1e-5, atol=1e-6)


def test_frames_out_of_order_are_sorted_by_time(tmp_path):
    frames = radar_frames().isel(time=[2, 0, 1])
    assert minutes_after_start(read_frames(radar_file(tmp_path / "r.nc", frames))) == [0, 10, 20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.assign_attrs(units="dBZ"),
            "is reflectivity .dBZ., the run takes .* does not follow",
        ),
        (lambda f: f.assign_attrs(units="mm/h"), "is rain rate .mm/h., the run takes"),
        (lambda f: f - 32, "reaches down to -32: a code is 0-255; are the values dBZ"),
        (lambda f: f * 2, "reaches up to 39.*: a code is 0-255"),
        (lambda f: f / 255, "with fractions: a code is expected on 0-255"),
        (lambda f: f.where(f < 0), "has no valid pixel"),
        (lambda f: f.drop_vars("time"), "has no times: add the coordinate"),
        (lambda f: f.assign_coords(time=[0, 1, 2]), "not a time with CF units"),
        (lambda f: f.assign_coords(time=f.time.values[[0, 1, 1]]), "two frames of .* 12:10"),
        (lambda f: f.assign_coords(time=[np.datetime64("NaT"), *f.time.values[1:]]), "has no time"),
    ],
)
def test_values_and_times_that_are_no_radar_are_refused_in_one_line(tmp_path, change, message):
    frames = radar_frames()
    frames.values[0, 0, 0] = 0
    changed = change(frames).rename("vil_code")
    with pytest.raises(UserError, match=message) as caught:
        read_frames(radar_file(tmp_path / "radar.nc", changed))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "radar.nc") in str(caught.value)


def test_what_is_no_radar_file_is_refused(tmp_path):
    (tmp_path / "text.nc").write_text("rain")
    two = radar_frames().to_dataset(name="a")
    two["b"] = two["a"]
    two.to_netcdf(tmp_path / "two.nc")
    for name, message in (
        ("absent.nc", "no radar file at"),
        ("text.nc", "cannot be read as radar frames"),
        ("two.nc", "names vil_code, .* it has a, b"),
        (".", "cannot be read as radar frames"),
    ):
        with pytest.raises(UserError, match=message):
            read_frames(tmp_path / name)
    radar_file(tmp_path / "good.nc", radar_frames())
    with pytest.raises(UserError, match="--event is for HDF5"):
        read_frames(tmp_path / "good.nc", event="1")


@pytest.fixture
def sevir(tmp_path):
    """Make a SEVIR tree of one's own, and its first file."""
    root = shutil.copytree(MINI, tmp_path / "tree")
    return root, next(iter(sorted(root.rglob("*.h5"))))


def test_an_event_of_a_sevir_tree_has_the_times_of_its_catalog(sevir):
    _, file = sevir
    found = read_frames(file, event="R000")
    with h5py.File(file) as opened:
        raw = np.moveaxis(opened["vil"][0], -1, 0)
    np.testing.assert_array_equal(np.nan_to_num(found.values, nan=255), raw)
    assert found["time"].values[0] == np.datetime64("2018-01-05T08:00")
    assert check_cadence(found, trained=10, place="x") == 10
    assert found["x"].values[1] - found["x"].values[0] == 384_000 / raw.shape[2]
    np.testing.assert_array_equal(read_frames(file, event="0"), found)


def test_the_projection_is_that_of_the_manuals_example():
    place = {"latitude": -20, "longitude": 100, "origin": (40, -100), "radius": 3.0}
    found = lambert_azimuthal_equal_area(**place)
    assert found == pytest.approx((-4.2339303, 4.0257775), abs=1e-6)


def test_an_event_lies_where_its_catalog_says(sevir):
    root, file = sevir
    catalog = root / "CATALOG.csv"
    catalog.write_text(catalog.read_text().replace("+lon_0=-98", "+lon_0=-98 +a=6370997.0"))
    found = read_frames(file, event="R000")
    corner = lambert_azimuthal_equal_area(
        latitude=30, longitude=-100, origin=(38, -98), radius=6370997
    )
    pixel = 384_000 / found.sizes["x"]
    assert found["x"].values[0] == pytest.approx(corner[0] + pixel / 2)
    assert found["y"].values[0] == pytest.approx(corner[1] + pixel / 2)
    assert np.diff(found["y"].values) == pytest.approx(pixel)
    assert found[found.encoding["grid_mapping"]].attrs["earth_radius"] == 6370997
    catalog.write_text(catalog.read_text().replace("+proj=laea", "+proj=unheard"))
    assert "grid_mapping" not in read_frames(file, event="R000").encoding


def test_missing_pixels_of_sevir_are_missing(sevir):
    _, file = sevir
    with h5py.File(file, "r+") as opened:
        opened["vil"][0, 1, 2, 3] = 255
    found = read_frames(file, event="R000")
    assert np.isnan(found.values[3, 1, 2])


def test_sevir_files_without_event_catalog_or_times_are_refused(sevir, tmp_path):
    root, file = sevir
    with pytest.raises(UserError, match=r"holds \d+ events: add --event, such as R000"):
        read_frames(file)
    with pytest.raises(UserError, match="has no event R999"):
        read_frames(file, event="R999")
    alone = shutil.copy(file, tmp_path / "alone.h5")
    with pytest.raises(UserError, match="has no times: a SEVIR file needs"):
        read_frames(Path(alone))
    catalog = root / "CATALOG.csv"
    catalog.write_text(catalog.read_text().replace("-120:-115", "-115"))
    with pytest.raises(UserError, match="minute_offsets of event R000 do not fit"):
        read_frames(file, event="R000")


def test_the_newest_frames_of_a_folder_are_found_by_their_times(tmp_path):
    for number in (3, 0, 2, 1):
        start = START + np.timedelta64(10 * number, "m")
        frames = radar_frames(1, start=start, seed=number)
        radar_file(tmp_path / f"{9 - number}.nc", frames)
    (tmp_path / ".partial.nc").write_text("still being written")
    found = read_newest_frames(tmp_path, count=3)
    assert minutes_after_start(found) == [10, 20, 30]
    np.testing.assert_array_equal(found[2], radar_frames(1, seed=3)[0])
    assert found.encoding["grid_mapping"] == "crs"
    with pytest.raises(UserError, match="holds 4 frames at different times, the model takes 5"):
        read_newest_frames(tmp_path, count=5)


def test_a_single_frame_with_a_scalar_time_is_a_frame(tmp_path):
    radar_file(tmp_path / "one.nc", radar_frames().isel(time=1))
    assert minutes_after_start(read_frames(tmp_path / "one.nc")) == [10]


def test_of_one_time_the_file_written_last_wins(tmp_path):
    for name, seed, modified in (("b.nc", 1, 1e9), ("a.nc", 2, 2e9)):
        radar_file(tmp_path / name, radar_frames(seed=seed))
        os.utime(tmp_path / name, (modified, modified))
    np.testing.assert_array_equal(read_newest_frames(tmp_path, count=3), radar_frames(seed=2))


def test_folders_without_frames_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no files of radar frames"):
        read_newest_frames(tmp_path, count=1)
    with pytest.raises(UserError, match="no folder"):
        read_newest_frames(tmp_path / "absent", count=1)
    radar_file(tmp_path / "a.nc", radar_frames(1))
    later = START + np.timedelta64(10, "m")
    radar_file(tmp_path / "b.nc", radar_frames(1, size=8, start=later))
    with pytest.raises(UserError, match="differ in size: 16x16, 8x8"):
        read_newest_frames(tmp_path, count=2)


def test_a_context_is_just_as_long_as_the_model_wants():
    frames = radar_frames(5)

    def chosen(frames, at=None):
        at = None if at is None else START + np.timedelta64(at, "m")
        return minutes_after_start(choose_context(frames, count=3, at=at, place="F"))

    assert chosen(radar_frames(3)) == [0, 10, 20]
    assert chosen(frames, at=30) == [10, 20, 30]
    for at, message in (
        (None, "holds 5 frames, the model takes 3: .*--at '2020-06-01 12:20' to '.* 12:40'"),
        (10, "holds 2 frames until 2020-06-01 12:10, the model takes 3"),
        (35, "no frame of 2020-06-01 12:35: its 5 frames are from 2020-06-01 12:00"),
    ):
        with pytest.raises(UserError, match=message):
            chosen(frames, at=at)
    with pytest.raises(UserError, match="holds 2 frames, the model takes 3"):
        chosen(radar_frames(2))


def test_gaps_and_another_cadence_are_refused():
    assert check_cadence(radar_frames(4, minutes=5), trained=None, place="F") == 5
    with pytest.raises(UserError, match="5 minutes apart, the model was trained on 10 minutes"):
        check_cadence(radar_frames(4, minutes=5), trained=10, place="F")
    gap = radar_frames(6).isel(time=[0, 1, 2, 3, 5])
    with pytest.raises(UserError, match=r"20 minutes between .*12:30 and .*12:50: frames are"):
        check_cadence(gap, trained=10, place="F")


def test_larger_frames_are_reduced_by_block_maximum_and_missing_stays_missing():
    frames = radar_frames(size=32)
    frames[0, 5, 7] = np.nan
    small = fit_to_size(frames, size=16, place="F")
    blocks = frames.values.reshape(3, 16, 2, 16, 2)
    np.testing.assert_array_equal(small.values, blocks.max(axis=(2, 4)))
    assert np.isnan(small.values).sum() == 1
    assert small["x"].values[0] == 500
    assert small["crs"].attrs == frames["crs"].attrs
    for size in (12, 64):
        with pytest.raises(UserError, match=f"frames of 32x32, the model takes {size}x{size}"):
            fit_to_size(frames, size=size, place="F")


def test_a_frame_without_any_valid_pixel_is_refused():
    frames = radar_frames()
    frames[1] = np.nan
    with pytest.raises(UserError, match="frame 2020-06-01 12:10 has no valid pixel"):
        check_valid(frames, place="F")
