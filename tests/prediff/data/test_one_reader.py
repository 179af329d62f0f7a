"""However frames are stored, they mean the same: direction, order, coding, what is missing, time.

Each property goes through the file (netCDF, zarr) or through the DataArray that a service hands in.
"""

import os

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radar_files import START
from radar_trees import random_vil, write_tree

from hpc.errors import UserError
from prediff.data.cadence import even_step, odd_events
from prediff.data.catalog import read_rows
from prediff.data.check import check
from prediff.data.dataset import open_windows
from prediff.data.orientation import FLIPPED, as_stored
from prediff.data.quantity import VIL
from prediff.data.radar_code import to_code
from prediff.data.selection import Selection
from prediff.data.sevir import VilReader
from prediff.forecasting.context import check_cadence, choose_context, fit_to_size
from prediff.forecasting.input import read_frames, read_newest_frames
from prediff.forecasting.noise_key import noise_key

FILES = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ROWS, COLUMNS, TIMES = 4, 6, 3
ROW_NAMES = ("y", "lat", "northing", "rows", "any_a")
COLUMN_NAMES = ("x", "lon", "easting", "cols", "any_b")
orders = st.permutations(range(3))


def scene(seed=0):
    """Code ``[3, 4, 6]``, rows from the south, columns from the west."""
    return np.random.default_rng(seed).integers(0, 255, (TIMES, ROWS, COLUMNS)).astype(np.float64)


def stored(values, *, order=(0, 1, 2), north_first=False, east_first=False, names=("y", "x")):
    """Return the scene as some file stores it, its coordinates along with it."""
    row, column = names
    attributes = {
        row: {"standard_name": "projection_y_coordinate", "units": "m"},
        column: {"standard_name": "projection_x_coordinate", "units": "m"},
    }
    frames = xr.DataArray(
        values,
        dims=("time", row, column),
        coords={
            "time": START + np.arange(TIMES) * np.timedelta64(600, "s"),
            row: (row, np.arange(ROWS) * 1000.0, attributes[row]),
            column: (column, np.arange(COLUMNS) * 1000.0, attributes[column]),
        },
        name="vil_code",
    )
    if north_first:
        frames = frames.isel({row: slice(None, None, -1)})
    if east_first:
        frames = frames.isel({column: slice(None, None, -1)})
    return frames.transpose(*(frames.dims[axis] for axis in order))


@FILES
@given(
    order=orders,
    north_first=st.booleans(),
    east_first=st.booleans(),
    row=st.sampled_from(ROW_NAMES),
    column=st.sampled_from(COLUMN_NAMES),
    suffix=st.sampled_from((None, ".nc")),
)
def test_storage_order_and_direction_never_change_the_scene(
    tmp_path, order, north_first, east_first, row, column, suffix
):
    values = scene()
    frames = stored(
        values, order=order, north_first=north_first, east_first=east_first, names=(row, column)
    )
    if suffix is None:
        found = to_code(frames, place="frames")
    else:
        path = tmp_path / f"frames{suffix}"
        frames.to_dataset().to_netcdf(path)
        found = read_frames(path)
    np.testing.assert_array_equal(found.values, values)
    assert (np.diff(found["y"]) > 0).all()
    assert (np.diff(found["x"]) > 0).all()
    assert found.encoding[FLIPPED] == tuple(
        name for name, turned in (("x", east_first), ("y", north_first)) if turned
    )
    back = as_stored(found.to_dataset(), like=found)
    assert (np.diff(back["y"])[0] < 0) == north_first


def test_directions_are_told_by_two_dimensional_latitudes_too():
    values = scene()
    latitude = np.repeat(np.linspace(50, 51, ROWS)[::-1, None], COLUMNS, axis=1)
    frames = stored(values[:, ::-1]).drop_vars(["y", "x"])
    frames = frames.rename(y="a", x="b").assign_coords(
        lat=(("a", "b"), latitude, {"units": "degrees_north"})
    )
    np.testing.assert_array_equal(to_code(frames, place="f").values, values)
    turned = frames.transpose("time", "b", "a")
    np.testing.assert_array_equal(to_code(turned, place="f").values, values)


def test_longitudes_go_round_at_greenwich_and_at_the_date_line():
    for west in (359.0, 178.97):
        lon = (west + 0.02 * np.arange(COLUMNS)) % 360
        lon = lon if west > 300 else (lon + 180) % 360 - 180
        frames = stored(scene(), names=("lat", "lon")).assign_coords(
            lat=("lat", np.linspace(50, 50.1, ROWS), {"units": "degrees_north"}),
            lon=("lon", lon, {"units": "degrees_east"}),
        )
        code = to_code(frames.isel(lat=slice(0, 2)), place="f")
        assert code.encoding[FLIPPED] == ()
        square = xr.concat([code.isel(x=slice(0, 4))] * 1, dim="time").isel(x=slice(0, 2))
        reduced = fit_to_size(square, size=1, place="f")
        middle = (west + 0.01) % 360
        assert abs((float(reduced["x"][0]) - middle + 180) % 360 - 180) < 1e-6


@FILES
@given(
    kind=st.sampled_from(("fill", "missing_value", "valid_range", "valid_max", "undeclared")),
    packed=st.sampled_from(("u1", "i2", "f4")),
    seed=st.integers(0, 20),
)
def test_whatever_says_missing_is_missing_and_never_heavy_rain(tmp_path, kind, packed, seed):
    values = scene(seed)
    values[:, 1, 2] = 255
    if kind == "undeclared" and packed == "f4":
        return  # 255.0 is a forecast's highest code
    path = tmp_path / "frames.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", TIMES), ("y", ROWS), ("x", COLUMNS)):
            file.createDimension(name, size)
            axis = file.createVariable(name, "f8", (name,))
            axis[:] = np.arange(size) * 10
        file["time"].units = "minutes since 2020-06-01 12:00"
        fill = 255 if kind == "fill" else None
        code = file.createVariable("vil_code", packed, ("time", "y", "x"), fill_value=fill)
        code.set_auto_maskandscale(False)
        if kind == "missing_value":
            code.missing_value = np.dtype(packed).type(255)
        if kind == "valid_range":
            code.valid_range = np.array([0, 254], packed)
        if kind == "valid_max":
            code.valid_max = np.dtype(packed).type(254)
        code[:] = values.astype(packed)
    found = read_frames(path)
    np.testing.assert_array_equal(np.isnan(found.values), values == 255)
    np.testing.assert_array_equal(np.nan_to_num(found.values, nan=255), values)


@given(scale=st.floats(1e-4, 0.1), part=st.floats(0, 0.49))
def test_less_than_half_a_packing_step_below_zero_is_dry(scale, part):
    frames = stored(np.zeros((TIMES, ROWS, COLUMNS))).assign_attrs(units="kg m-2")
    frames.values[0, 0, 0], frames.values[0, 0, 1] = -part * scale, 5.0
    frames.encoding = {"scale_factor": scale, "dtype": np.dtype("i2")}
    assert to_code(frames, place="f").values[0, 0, 0] == 0
    frames.values[0, 0, 0] = -3 * scale
    with pytest.raises(UserError, match="reaches from -"):
        to_code(frames, place="f")


def test_masked_integers_of_a_service_are_missing_where_the_mask_says():
    values = scene()
    masked = np.ma.masked_array(values, mask=values > 200)
    found = to_code(stored(values).copy(data=masked), place="f")
    np.testing.assert_array_equal(np.isnan(found.values), values > 200)


@given(jitter=st.lists(st.integers(-29, 29), min_size=5, max_size=5), late=st.integers(0, 29))
def test_seconds_of_jitter_change_neither_cadence_nor_noise(jitter, late):
    minutes = np.arange(5) * 600 + np.array(jitter)
    frames = xr.DataArray(
        np.zeros((5, 2, 2)),
        dims=("time", "y", "x"),
        coords={"time": START + minutes.astype("timedelta64[s]").astype("timedelta64[ns]")},
    )
    assert check_cadence(frames, trained=10, place="f") == 10
    at = START + np.timedelta64(40, "m")
    chosen = choose_context(frames, count=3, at=at, place="f")
    assert chosen["time"].values[-1] == frames["time"].values[-1]
    assert noise_key(frames["time"].values[-1]) == noise_key(at)
    assert noise_key(at + np.timedelta64(late, "s")) == noise_key(at)
    assert noise_key(at + np.timedelta64(1, "m")) != noise_key(at)


@given(steps=st.lists(st.sampled_from([5, 10]), min_size=3, max_size=8))
def test_mixed_steps_are_no_cadence(steps):
    even = even_step(np.cumsum([0, *steps]).tolist())
    assert (even is not None) == (len(set(steps)) == 1)


@pytest.mark.parametrize(
    ("offsets", "reason"),
    [
        (":".join(str(5 * k) for k in range(25)), "5 minutes apart, those of most events 10"),
        (":".join(str(10 * k + 30 * (k > 12)) for k in range(25)), "frames are missing"),
        ("0:10:20", "3 minute_offsets for 25 frames"),
    ],
)
def test_training_scoring_and_checking_refuse_another_cadence_and_gaps(tmp_path, offsets, reason):
    root = write_tree(tmp_path, {"vil/a.h5": random_vil(4, 4, 4, 25)})
    catalog = root / "CATALOG.csv"
    lines = catalog.read_text().splitlines()
    place = lines[0].split(",").index("minute_offsets")
    cells = lines[2].split(",")
    cells[place] = offsets
    catalog.write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")
    with pytest.raises(UserError, match=f"R001: .*{reason}"):
        open_windows(root, split="all")
    assert any("R001" in problem for problem in check(root).problems)
    _, odd = odd_events([row.event for row in read_rows(root)], frames=25)
    assert [each.event.id for each in odd] == ["R001"]


def test_a_file_s_own_ids_must_be_the_catalog_s(tmp_path):
    root = write_tree(tmp_path, {"vil/a.h5": random_vil(3, 4, 4, 25)})
    with h5py.File(root / "data" / "vil" / "a.h5", "a") as file:
        file["id"] = np.array(["R001", "R000", "R002"], "S16")
    with pytest.raises(UserError, match=r"event R000, the file says that it is 'R001'"):
        open_windows(root, split="all")


@pytest.mark.parametrize("link", ["file", "folder", "catalog"])
def test_links_that_leave_the_data_folder_are_refused(tmp_path, link):
    root = write_tree(tmp_path / "tree", {"vil/a.h5": random_vil(3, 4, 4, 25)})
    inner = {"file": "data/vil/a.h5", "folder": "data/vil", "catalog": "CATALOG.csv"}[link]
    os.rename(root / inner, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", root / inner)
    with pytest.raises(UserError, match="leads out of"):
        open_windows(root, split="all")


@pytest.mark.parametrize("how", ["external", "link", "virtual"])
def test_hdf5_that_keeps_its_pixels_elsewhere_is_refused(tmp_path, how):
    root = write_tree(tmp_path, {"vil/a.h5": random_vil(1, 4, 4, 25)})
    (tmp_path / "secret").write_bytes(bytes(400))
    path = root / "data" / "vil" / "a.h5"
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["v"] = random_vil(1, 4, 4, 25)
    with h5py.File(path, "w") as file:
        if how == "external":
            places = [(str(tmp_path / "secret"), 0, 400)]
            file.create_dataset("vil", (1, 4, 4, 25), "u1", external=places)
        elif how == "link":
            file["vil"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/v")
        else:
            layout = h5py.VirtualLayout((1, 4, 4, 25), "u1")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "v", shape=(1, 4, 4, 25))
            file.create_virtual_dataset("vil", layout)
    with pytest.raises(UserError, match="stand alone"):
        open_windows(root, split="all")


def test_a_header_that_promises_gigabytes_is_refused_before_memory_is_asked(tmp_path):
    root = write_tree(tmp_path, {"vil/a.h5": random_vil(1, 4, 4, 25)})
    with h5py.File(root / "data" / "vil" / "a.h5", "w") as file:
        file.create_dataset("vil", (1, 30_000, 30_000, 25), "u1", chunks=(1, 64, 64, 25))
    with pytest.raises(UserError, match="made to exhaust memory"):
        open_windows(root, split="all")


def test_frames_of_the_future_are_refused_and_passed_over(tmp_path):
    now = np.datetime64("now", "s")
    for name, shift in (("now", -60), ("later", 60 * 24 * 365)):
        start = (now + np.timedelta64(shift, "m")).astype("datetime64[ns]")
        frames = stored(scene())
        frames["time"] = start + np.arange(TIMES) * np.timedelta64(600, "s")
        frames.to_dataset().to_netcdf(tmp_path / f"{name}.nc")
    with pytest.raises(UserError, match="frames of the future are refused"):
        read_frames(tmp_path / "later.nc")
    (tmp_path / "broken.nc").write_text("x")
    said: list[str] = []
    found = read_newest_frames(tmp_path, count=TIMES, passed_over=said)
    assert found["time"].values[-1] < np.datetime64("now")
    assert len(said) == 2


def test_many_files_need_few_descriptors(tmp_path):
    files = {f"vil/{number:03d}.h5": random_vil(1, 4, 4, 25) for number in range(90)}
    root = write_tree(tmp_path, dict(list(files.items())[:28]))
    with VilReader(root) as reader:
        for number in range(28):
            reader.dataset(f"vil/{number:03d}.h5")
        before = len(os.listdir("/proc/self/fd"))
    assert before - len(os.listdir("/proc/self/fd")) == 28
    report = check(root, selection=Selection(length=13))
    assert not [problem for problem in report.problems if "truncated" in problem]


def test_vil_codes_without_units_are_codes_and_other_quantities_need_theirs():
    frames = stored(scene())
    np.testing.assert_array_equal(to_code(frames, quantity=VIL, place="f").values, scene())
    with pytest.raises(UserError, match="'parsec', expected kg m-2, dBZ, mm h-1"):
        to_code(frames.assign_attrs(units="parsec"), place="f")
