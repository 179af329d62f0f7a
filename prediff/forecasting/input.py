"""Radar frames that a user hands in, as VIL on 0-255 with times and a grid.

T time, H, W pixels. Read are netCDF and zarr with a variable ``(time, y, x)``, and HDF5 files of
a SEVIR tree.
"""

import warnings
from pathlib import Path

import numpy as np
import xarray as xr

from hpc.errors import UserError
from prediff.data.catalog import CATALOG_NAME, Event, read_vil_rows
from prediff.data.sevir import VilReader
from prediff.data.vil import water_to_vil
from prediff.forecasting.file import CODE, MASS, centred_grid
from prediff.forecasting.projection import GRID_MAPPING, event_grid

SEVIR_MISSING = 255
"""SEVIR's code of a missing pixel; valid ones end at 254."""

SEVIR_SUFFIXES = (".h5", ".hdf5")
RECENT_FILES = 64
"""How many files of a folder are opened in search of the newest frames, newest first."""

_CODE_UNITS = ("", "1", "none", "dimensionless")
_MASS_UNITS = ("kg m-2", "kg/m2", "kg/m^2", "kg m**-2", "kg m^-2")


def read_frames(path: Path, *, event: str | None = None) -> xr.DataArray:
    """Return all frames of a file, ``(time, y, x)`` float32, VIL on 0-255, NaN where missing.

    Args:
        path: netCDF, zarr, or an HDF5 file of a SEVIR tree with its catalog.
        event: id or row of the event, for HDF5 of several events.

    Raises:
        UserError: no such file, no frames, no times, no such event, or values that are not VIL.
    """
    if not path.exists():
        raise UserError(f"no radar file at {path}")
    if path.suffix in SEVIR_SUFFIXES:
        return _read_sevir(path, event)
    if event is not None:
        raise UserError(f"{path}: --event is for HDF5 files of a SEVIR tree: leave it out")
    return _read_gridded(path)


def read_newest_frames(folder: Path, *, count: int) -> xr.DataArray:
    """Return the newest ``count`` frames of a folder of netCDF or zarr files, as `read_frames`.

    Times within the files decide, not their names; of two frames of one time the file that was
    modified last wins. Only the last :data:`RECENT_FILES` files to be modified are opened (more if
    more frames are asked for). Names that begin with a dot are files still being written.

    Raises:
        UserError: no such folder, too few frames, or a file that cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: --latest takes a folder of radar files")
    files = [
        file
        for suffix in ("nc", "zarr")
        for file in folder.glob(f"*.{suffix}")
        if not file.name.startswith(".")
    ]
    if not files:
        raise UserError(f"{folder} holds no .nc or .zarr files of radar frames")
    files.sort(key=lambda file: (file.stat().st_mtime, file.name), reverse=True)
    found: dict[np.datetime64, xr.DataArray] = {}
    for file in files[: max(RECENT_FILES, 4 * count)]:
        for frame in read_frames(file):
            found.setdefault(frame["time"].values[()], frame)
    newest = [found[time] for time in sorted(found)][-count:]
    if len(newest) < count:
        raise UserError(
            f"{folder} holds {len(newest)} frames at different times, the model takes {count}"
        )
    if len({frame.shape for frame in newest}) > 1:
        sizes = ", ".join(sorted({f"{f.shape[0]}x{f.shape[1]}" for f in newest}))
        raise UserError(f"{folder}: the newest {count} frames differ in size: {sizes}")
    frames = xr.concat(newest, dim="time", coords="minimal", compat="override", join="override")
    frames.encoding = newest[-1].encoding
    return frames


def _read_gridded(path: Path) -> xr.DataArray:
    zarr = path.suffix == ".zarr"
    if path.is_dir() and not zarr:
        raise UserError(f"{path} is a folder: name a file, or use --latest {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = xr.open_dataset(
                path, engine="zarr" if zarr else "netcdf4", decode_coords="all"
            )
            with dataset:
                frames = _radar_variable(dataset, path).load()
    except UserError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read as radar frames: {reason}") from None
    return to_vil_code(frames, place=str(path))


def _radar_variable(dataset: xr.Dataset, path: Path) -> xr.DataArray:
    """Return the one variable ``(time, y, x)``; a single frame may lack the dimension ``time``."""
    if "time" not in dataset.coords:
        raise UserError(f"{path} has no times: add the coordinate `time` (CF)")
    if "time" not in dataset.dims and dataset["time"].ndim == 0:
        dataset = dataset.expand_dims("time")
    candidates = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if variable.ndim == 3 and "time" in variable.dims
    ]
    named = [name for name in (CODE, MASS) if name in candidates]
    if not named and len(candidates) != 1:
        raise UserError(
            f"{path} needs one variable (time, y, x), named {CODE} (0-255) or {MASS} (kg m-2) if "
            f"there are several; it has {', '.join(candidates) or 'none'}"
        )
    frames = dataset[(named or candidates)[0]]
    row, column = (name for name in frames.dims if name != "time")
    others = {row: "y", column: "x"}
    frames = frames.transpose("time", row, column)
    return frames.rename({old: new for old, new in others.items() if old != new})


def to_vil_code(frames: xr.DataArray, *, place: str) -> xr.DataArray:
    """Return frames as VIL on 0-255, float32, in the order of time.

    Args:
        frames: ``(time, y, x)``; the attribute ``units`` says what the values are: ``1`` or none is
            VIL on 0-255, ``kg m-2`` is liquid water.
        place: names the frames in errors.

    Raises:
        UserError: other units, values that are not VIL, missing or repeated times.
    """
    units = str(frames.attrs.get("units", "")).strip()
    values = frames.values.astype(np.float32)
    if units in _MASS_UNITS:
        if (values < 0).any():
            raise UserError(f"{place} holds negative water: mark missing pixels with NaN")
        values = water_to_vil(values).astype(np.float32)
    elif units.lower() not in _CODE_UNITS:
        kind = "reflectivity" if units.lower().startswith("db") else "something else"
        raise UserError(
            f"{place}: {frames.name or 'the frames'} is in {units}, {kind}; the model takes VIL as "
            "code 0-255 (units 1) or in kg m-2: convert it first"
        )
    check_range(values, place=place)
    out = frames.copy(data=values)
    out.attrs = {}
    times = out["time"].values
    if not np.issubdtype(times.dtype, np.datetime64):
        raise UserError(f"{place}: `time` is {times.dtype}, not a time with CF units")
    if np.isnat(times).any():
        raise UserError(f"{place}: frame {int(np.isnat(times).argmax())} has no time")
    out = out.sortby("time")
    repeated = np.flatnonzero(np.diff(out["time"].values) == np.timedelta64(0))
    if len(repeated):
        raise UserError(f"{place} holds two frames of {clock(out['time'].values[repeated[0]])}")
    return out


def check_range(values: np.ndarray, *, place: str) -> None:
    """Raise UserError unless the values can be VIL on 0-255, NaN where missing."""
    valid = values[np.isfinite(values)]
    if np.isinf(values).any():
        raise UserError(f"{place} holds infinite values: mark missing pixels with NaN")
    if not valid.size:
        raise UserError(f"{place} has no valid pixel")
    low, high = float(valid.min()), float(valid.max())
    if low < 0:
        raise UserError(f"{place} reaches down to {low:g}: VIL is 0-255; are the values dBZ?")
    if high > 255:
        raise UserError(f"{place} reaches up to {high:g}: VIL is 0-255")
    if high <= 1 and (valid != np.rint(valid)).any():
        raise UserError(
            f"{place} ends at {high:g} with fractions: VIL is expected on 0-255, or in kg m-2 with "
            "the attribute units"
        )


def _read_sevir(path: Path, wanted: str | None) -> xr.DataArray:
    root = next((up for up in path.parents if (up / CATALOG_NAME).is_file()), None)
    if root is None:
        raise UserError(
            f"{path} has no times: a SEVIR file needs the {CATALOG_NAME} of its tree in a folder "
            "above it"
        )
    data = root / "data"
    name = path.relative_to(data).as_posix() if path.is_relative_to(data) else path.name
    events = [row.event for row in read_vil_rows(root) if row.event.file == name]
    event = _chosen_event(events, wanted, path)
    with VilReader(root) as reader:
        reader.require_rows([event])
        raw = reader.read(name, event.index)
    frames, height, width = raw.shape
    if len(event.minute_offsets) not in (frames, 2 * frames - 1):
        raise UserError(
            f"{root / CATALOG_NAME}: minute_offsets of event {event.id} do not fit its {frames} "
            "frames, so they have no times"
        )
    start = np.datetime64(event.time, "ns")
    minutes = np.array(event.frame_minutes(frames))
    values = np.where(raw == SEVIR_MISSING, np.nan, raw).astype(np.float32)
    pixel = event.width_metres / width
    grid = event_grid(root, event.id, height=height, width=width, pixel_metres=pixel)
    found = xr.DataArray(
        values,
        dims=("time", "y", "x"),
        coords={
            "time": start + minutes.astype("timedelta64[m]").astype("timedelta64[ns]"),
            **(grid or centred_grid(height=height, width=width, pixel_metres=pixel)),
        },
        name=CODE,
    )
    if grid is not None:
        found.encoding["grid_mapping"] = GRID_MAPPING
    return found


def _chosen_event(events: list[Event], wanted: str | None, path: Path) -> Event:
    if not events:
        raise UserError(f"{path} is not in the catalog above it, so its frames have no times")
    if wanted is None:
        if len(events) > 1:
            some = ", ".join(event.id for event in events[:3])
            raise UserError(f"{path} holds {len(events)} events: add --event, such as {some}")
        return events[0]
    for event in events:
        if wanted in (event.id, str(event.index)):
            return event
    raise UserError(f"{path} has no event {wanted}: it holds {len(events)}, as {events[0].id}")


def clock(time: np.datetime64) -> str:
    """Return a time to the minute, as errors show it."""
    return str(time.astype("datetime64[m]")).replace("T", " ")
