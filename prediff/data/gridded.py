"""Gridded radar files by CF's conventions, netCDF and zarr: which variable, what is missing, where.

T time, H, W pixels.
"""

import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hpc.errors import UserError
from prediff.data.file_guard import check_file, check_promise, first_line, stored_bytes
from prediff.data.orientation import as_frames, is_longitude
from prediff.data.quantity import MISSING, QUANTITIES, Quantity

NO_UNITS = ("", "1", "none", "dimensionless")

_KEPT_ATTRIBUTES = ("units", "standard_name", "long_name", "axis")
_MAPPING_NUMBERS_AND_TEXTS = 64
_LONGEST_TEXT = 4000
_MINUTE = np.timedelta64(60, "s")
FUTURE_TOLERANCE = np.timedelta64(60 * 60, "s")
"""How far a clock may go ahead of ours, or a product that is stamped with the end of its hour."""


def read_gridded(path: Path) -> xr.DataArray:
    """Return the radar frames of a netCDF file or zarr folder, ``(time, y, x)`` in their units.

    Rows are from the south and columns from the west; what the file says is missing is NaN. The
    attribute ``units`` is the file's.

    Raises:
        UserError: a file that refers to others, promises more than it has, or has no frames.
    """
    zarr = path.is_dir()
    if zarr and path.suffix != ".zarr":
        raise UserError(f"{path} is a folder: name a file, or use --latest {path}")
    try:
        check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = xr.open_dataset(
                path, engine="zarr" if zarr else "netcdf4", decode_coords="all"
            )
            with dataset:
                frames = _radar_variable(dataset, path)
                check_promise(frames.shape, stored_bytes=stored_bytes(path), place=path)
                frames = _own_coordinates(frames, dataset, path).load()
    except UserError:
        raise
    except Exception as error:  # a library's, of a foreign file: there are many kinds
        raise UserError(f"{path} cannot be read as radar frames: {_explained(error)}") from None
    return as_frames(mask_invalid(frames), place=str(path))


def mask_invalid(frames: xr.DataArray) -> xr.DataArray:
    """Return float frames that are NaN where attributes say missing, and dry where packing erred.

    ``valid_min``, ``valid_max`` and ``valid_range`` are read as CF 2.5.1 and the netCDF users'
    guide say: in the packed values where their type is the packed one's; ``_FillValue`` and
    ``missing_value`` are applied where nobody did. A code of 255 in whole numbers without units is
    missing, as SEVIR says. Less than half a packing step below zero is zero.
    """
    values = np.ma.filled(np.ma.asarray(frames.values).astype(np.float64), np.nan)
    raw_integers = frames.dtype.kind in "iu"
    packed = np.dtype(frames.encoding.get("dtype") or frames.dtype)
    for name in ("_FillValue", "missing_value"):
        for missing in np.atleast_1d(frames.attrs.get(name, ())):
            values[values == float(missing)] = np.nan
    low, high = _valid_limits(frames, packed)
    with np.errstate(invalid="ignore"):
        values[(values < low) | (values > high)] = np.nan
        units = str(frames.attrs.get("units", "")).strip().lower()
        if units in NO_UNITS and (raw_integers or packed.kind in "iu"):
            values[values == MISSING] = np.nan
        step = abs(float(frames.encoding.get("scale_factor", 0.0)))
        largest = np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values))
        slack = max(step / 2, 1e-6 * largest)
        if not units.startswith("db"):
            values[(values < 0) & (values >= -slack)] = 0.0
    out = frames.copy(data=values)
    out.encoding = dict(frames.encoding)
    return out


def _valid_limits(frames: xr.DataArray, packed: np.dtype) -> tuple[float, float]:
    attributes = frames.attrs
    limits = np.atleast_1d(attributes.get("valid_range", (-np.inf, np.inf)))
    if limits.size != 2:
        limits = np.array([-np.inf, np.inf])
    given = [attributes.get("valid_min", limits[0]), attributes.get("valid_max", limits[1])]
    scale = float(frames.encoding.get("scale_factor", 1.0))
    offset = float(frames.encoding.get("add_offset", 0.0))
    slack = 1e-6 * abs(scale)
    found = []
    for limit in map(np.asarray, given):
        if (
            str(frames.encoding.get("_Unsigned", "false")).lower() == "true"
            and limit.dtype.kind == "i"
        ):
            limit = limit.astype(f"u{limit.dtype.itemsize}")
        same_type = limit.dtype.kind == packed.kind or {limit.dtype.kind, packed.kind} <= {*"iu"}
        value = float(limit)
        found.append(value * scale + offset if same_type and np.isfinite(value) else value)
    return min(found) - slack, max(found) + slack


def check_times(frames: xr.DataArray, *, place: str) -> xr.DataArray:
    """Return frames in the order of time.

    Raises:
        UserError: no times, repeated ones, or some of the future.
    """
    times = frames["time"].values
    if not np.issubdtype(times.dtype, np.datetime64):
        raise UserError(f"{place}: `time` is {times.dtype}, not a time with CF units")
    if np.isnat(times).any():
        raise UserError(f"{place}: frame {int(np.isnat(times).argmax())} has no time")
    times = times.astype("datetime64[ns]")
    now = np.datetime64("now", "ns")
    if times.size and times.max() > now + FUTURE_TOLERANCE:
        raise UserError(
            f"{place} holds a frame of {clock(times.max())} UTC, and it is {clock(now)}: frames of "
            "the future are refused; are times local, or the clock wrong?"
        )
    frames = frames.assign_coords(time=times).sortby("time")
    repeated = np.flatnonzero(np.diff(frames["time"].values) == np.timedelta64(0))
    if len(repeated):
        raise UserError(f"{place} holds two frames of {clock(frames['time'].values[repeated[0]])}")
    return frames


def clock(time: np.datetime64) -> str:
    """Return a time to the minute, to the second where it has seconds, as errors show it."""
    seconds = time.astype("datetime64[s]")
    whole = seconds == seconds.astype("datetime64[m]")
    return str(seconds.astype("datetime64[m]") if whole else seconds).replace("T", " ")


def _radar_variable(dataset: xr.Dataset, path: Path) -> xr.DataArray:
    """Return the one variable of radar values; a single frame may lack the dimension of time."""
    dataset = _with_time(dataset, path)
    candidates = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if variable.ndim >= 3 and variable.dtype.kind in "iuf" and "time" in variable.dims
    ]
    known = [
        name
        for quantity in QUANTITIES.values()
        for name in (quantity.code_name, quantity.name)
        if name in candidates
    ]
    if not known and len(candidates) != 1:
        names = ", ".join(
            name for quantity in QUANTITIES.values() for name in (quantity.code_name, quantity.name)
        )
        raise UserError(
            f"{path} needs one variable (time, y, x), or one of the names {names} if there are "
            f"several; it has {', '.join(candidates) or 'none'}"
        )
    return dataset[(known or candidates)[0]]


def _with_time(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Return the dataset with ``time`` as a dimension's coordinate, whatever the file calls it."""
    if "time" not in dataset.dims:
        named = [
            str(name)
            for name, variable in dataset.variables.items()
            if np.issubdtype(variable.dtype, np.datetime64) and variable.ndim <= 1
        ]
        standard = [name for name in named if dataset[name].attrs.get("standard_name") == "time"]
        chosen = "time" if "time" in named else next(iter(standard or named), None)
        if "valid_time" in named:  # GRIB's time is that of the analysis
            chosen = "valid_time"
        if chosen is None:
            raise UserError(f"{path} has no times: add the coordinate `time` (CF)")
        dataset = dataset.set_coords(chosen)
        if chosen != "time":
            dataset = dataset.drop_vars("time", errors="ignore").rename({chosen: "time"})
        if dataset["time"].ndim == 0:
            dataset = dataset.expand_dims("time")
        elif dataset["time"].dims != ("time",):
            dataset = dataset.swap_dims({dataset["time"].dims[0]: "time"})
    if "time" not in dataset.coords:
        raise UserError(f"{path} has no times: add the coordinate `time` (CF)")
    return dataset


def _own_coordinates(frames: xr.DataArray, dataset: xr.Dataset, path: Path) -> xr.DataArray:
    """Keep the coordinates that place the pixels, and of their attributes what says how."""
    encoding = dict(frames.encoding)
    mapping = str(encoding.get("grid_mapping", "")).split(":")[0].split(" ")[0]
    kept: dict[Hashable, xr.Variable] = {}
    for name, coordinate in frames.coords.items():
        if coordinate.ndim == 0:
            if name == mapping or "grid_mapping_name" in coordinate.attrs:
                kept[name] = xr.Variable((), 0, _short_attributes(coordinate.attrs))
                encoding["grid_mapping"] = name
            continue
        if name in frames.dims or _places_pixels(coordinate, str(name)):
            check_promise(coordinate.shape, stored_bytes=stored_bytes(path), place=path)
            attributes = {k: v for k, v in coordinate.attrs.items() if k in _KEPT_ATTRIBUTES}
            if name not in frames.dims:
                eastward = is_longitude(coordinate, str(name))
                attributes.setdefault("standard_name", "longitude" if eastward else "latitude")
            kept[name] = xr.Variable(coordinate.dims, coordinate.values, attributes)
    if mapping and mapping in dataset.variables and mapping not in kept:
        kept[mapping] = xr.Variable((), 0, _short_attributes(dataset[mapping].attrs))
    if encoding.get("grid_mapping") not in kept:
        encoding.pop("grid_mapping", None)
    out = xr.DataArray(
        frames.variable.copy(deep=False), coords=kept, dims=frames.dims, name=frames.name
    )
    out.encoding = encoding
    return out


def _places_pixels(coordinate: xr.DataArray, name: str) -> bool:
    latitude = (
        coordinate.attrs.get("standard_name") == "latitude"
        or str(coordinate.attrs.get("units", "")).lower().startswith("degrees_n")
        or name.lower() in ("lat", "latitude")
    )
    return coordinate.dtype.kind in "iuf" and (latitude or is_longitude(coordinate, name))


def _short_attributes(attributes: dict[Any, Any]) -> dict[str, Any]:
    """Return numbers and short texts: what a grid mapping consists of."""
    kept = {
        str(key): value
        for key, value in attributes.items()
        if (isinstance(value, str) and len(value) <= _LONGEST_TEXT)
        or (
            not isinstance(value, str)
            and np.size(value) <= 8
            and np.asarray(value).dtype.kind in "iuf"
        )
    }
    return dict(list(kept.items())[:_MAPPING_NUMBERS_AND_TEXTS])


def _explained(error: Exception) -> str:
    text = first_line(error)
    if "filter" in text.lower() and ("can't open" in text.lower() or "not" in text.lower()):
        return f"it is compressed by an HDF5 filter that is not installed here ({text})"
    return text


def chosen_units(frames: xr.DataArray) -> str:
    """Return the units that frames say they have, without spaces around."""
    return str(frames.attrs.get("units", "")).strip()


def named_code(frames: xr.DataArray) -> Quantity | None:
    """Return the quantity whose code a variable's name says it is, None where it says nothing."""
    return next((q for q in QUANTITIES.values() if frames.name == q.code_name), None)
