"""Which dimension of a frame is which, and which way it runs: by names and coordinates.

The networks learn frames whose row 0 is the southern one and whose column 0 is the western one, as
SEVIR's are. A file's order of storage says nothing about directions.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from hpc.errors import UserError

FLIPPED = "flipped"
"""In a DataArray's encoding: the dimensions that were turned round."""

_TIMES = ("time", "valid_time", "t")
_ROWS = ("y", "yc", "lat", "latitude", "nlat", "rlat", "northing", "south_north", "row", "rows",
         "nj", "j", "height", "projection_y_coordinate")  # fmt: skip
_COLUMNS = ("x", "xc", "lon", "longitude", "nlon", "rlon", "easting", "west_east", "col", "cols",
            "column", "columns", "ni", "i", "width", "projection_x_coordinate")  # fmt: skip
_ROW_NAMES = ("projection_y_coordinate", "latitude", "grid_latitude")
_COLUMN_NAMES = ("projection_x_coordinate", "longitude", "grid_longitude")
_NORTH = ("degrees_north", "degree_north", "degrees_n", "degree_n")
_EAST = ("degrees_east", "degree_east", "degrees_e", "degree_e")


def is_longitude(coordinate: xr.DataArray | xr.Variable, name: str = "") -> bool:
    """Return whether values go round: 359 degrees is beside 0."""
    attributes = coordinate.attrs
    return (
        str(attributes.get("standard_name", "")) in ("longitude", "grid_longitude")
        or str(attributes.get("units", "")).lower() in _EAST
        or name.lower() in ("lon", "longitude", "rlon")
    )


def around(values: np.ndarray, *, near: np.ndarray | float) -> np.ndarray:
    """Return longitudes as the same places within 180 degrees of others."""
    return near + (np.asarray(values, np.float64) - near + 180) % 360 - 180


def as_frames(frames: xr.DataArray, *, place: str) -> xr.DataArray:
    """Return frames as ``(time, y, x)``, rows from the south, columns from the west.

    Dimensions are told by name, by CF's ``axis``, ``standard_name`` and units, in this order of
    trust: the coordinate's attributes, then the dimension's name. Dimensions of length 1 that are
    none of the three are dropped; so are scalar coordinates of time's or a forecast's making. Where
    nothing tells rows from columns, rows come first, as documented. ``encoding`` keeps what was
    turned round under :data:`FLIPPED`.

    Raises:
        UserError: other dimensions, two that claim to be the same, or axes that turn back.
    """
    encoding = dict(frames.encoding)
    time = _time_dimension(frames)
    if time is None and "time" in frames.coords and frames["time"].ndim == 0:
        frames = frames.expand_dims("time")
        time = "time"
    if time is None:
        raise UserError(f"{place} has dimensions {_listed(frames)}, none of which is time")
    spare = [
        name for name in frames.dims if frames.sizes[name] == 1 and name != time and not
        _kind(frames, str(name))
    ]  # fmt: skip
    if frames.ndim > 3 and spare:
        frames = frames.isel(dict.fromkeys(spare[: frames.ndim - 3], 0), drop=True)
    if frames.ndim != 3:
        raise UserError(f"{place} has dimensions {_listed(frames)}, expected (time, y, x)")
    row, column = _rows_and_columns(frames, time, place)
    frames = frames.transpose(time, row, column)
    frames = _renamed(frames, {time: "time", row: "y", column: "x"})
    turned = [name for name in ("y", "x") if _runs_backwards(frames, name, place)]
    for name in turned:
        frames = frames.isel({name: slice(None, None, -1)})
    before = set(encoding.get(FLIPPED, ()))
    frames.encoding = encoding | {FLIPPED: tuple(sorted(before ^ set(turned)))}
    return frames


def as_stored(dataset: xr.Dataset, *, like: xr.DataArray) -> xr.Dataset:
    """Return a dataset on ``y`` and ``x`` in the direction that its input was stored in."""
    for name in like.encoding.get(FLIPPED, ()):
        dataset = dataset.isel({name: slice(None, None, -1)})
    return dataset


def _coordinate(frames: xr.DataArray, name: Hashable) -> xr.DataArray | None:
    """Return a coordinate that is there; ``coords.get`` makes one up for a bare dimension."""
    if name not in frames.coords:
        return None
    return frames.coords[name]


def _time_dimension(frames: xr.DataArray) -> str | None:
    for name in frames.dims:
        coordinate = _coordinate(frames, name)
        if coordinate is not None and (
            np.issubdtype(coordinate.dtype, np.datetime64)
            or coordinate.attrs.get("standard_name") == "time"
            or coordinate.attrs.get("axis") == "T"
        ):
            return str(name)
    return next((str(name) for name in frames.dims if str(name).lower() in _TIMES), None)


def _kind(frames: xr.DataArray, name: str) -> str:
    """Return ``y``, ``x`` or nothing."""
    coordinate = _coordinate(frames, name)
    attributes: dict[str, Any] = {} if coordinate is None else coordinate.attrs
    units = str(attributes.get("units", "")).lower()
    standard = str(attributes.get("standard_name", ""))
    for kind, standards, degrees in (("y", _ROW_NAMES, _NORTH), ("x", _COLUMN_NAMES, _EAST)):
        if (
            standard in standards
            or units in degrees
            or str(attributes.get("axis", "")).lower() == kind
        ):
            return kind
    lowered = name.lower()
    return "y" if lowered in _ROWS else "x" if lowered in _COLUMNS else ""


def _rows_and_columns(frames: xr.DataArray, time: str, place: str) -> tuple[str, str]:
    first, second = (str(name) for name in frames.dims if name != time)
    kinds = _kind(frames, first), _kind(frames, second)
    if kinds[0] and kinds[0] == kinds[1]:
        raise UserError(f"{place}: dimensions {first} and {second} both look like {kinds[0]}")
    if kinds == ("", ""):
        kinds = _kinds_by_degrees(frames, first, second)
    return (second, first) if "x" in kinds[:1] or "y" in kinds[1:] else (first, second)


def _kinds_by_degrees(frames: xr.DataArray, first: str, second: str) -> tuple[str, str]:
    """Latitude ``(first, second)`` changes most along the rows' dimension."""
    latitude = _plane(frames, _NORTH, "latitude")
    if latitude is None or set(latitude.dims) != {first, second}:
        return "", ""
    steps = [
        float(np.nanmedian(np.abs(latitude.diff(name).values))) if latitude.sizes[name] > 1 else 0.0
        for name in (first, second)
    ]
    return ("y", "x") if steps[0] >= steps[1] else ("x", "y")


def _plane(frames: xr.DataArray, units: tuple[str, ...], standard: str) -> xr.DataArray | None:
    for name, coordinate in frames.coords.items():
        if coordinate.ndim == 2 and (
            str(coordinate.attrs.get("units", "")).lower() in units
            or coordinate.attrs.get("standard_name") == standard
            or str(name).lower() in (standard, standard[:3])
        ):
            return coordinate
    return None


def _renamed(frames: xr.DataArray, names: dict[str, str]) -> xr.DataArray:
    changed = {old: new for old, new in names.items() if old != new}
    in_the_way = [
        new for new in changed.values() if new in frames.coords and new not in frames.dims
    ]
    return frames.drop_vars(in_the_way).rename(changed)


def _runs_backwards(frames: xr.DataArray, name: str, place: str) -> bool:
    """Return whether a dimension runs from north to south, or from east to west."""
    if frames.sizes[name] < 2:
        return False
    coordinate = _coordinate(frames, name)
    if coordinate is not None and coordinate.ndim == 1 and coordinate.dtype.kind in "iuf":
        values = coordinate.values.astype(np.float64)
        steps = np.diff(values)
        if is_longitude(coordinate, name):
            steps = (steps + 180) % 360 - 180
        if not np.isfinite(values).all() or not ((steps > 0).all() or (steps < 0).all()):
            raise UserError(f"{place}: coordinate {name} neither rises nor falls throughout")
        return bool(steps[0] < 0)
    plane = _plane(frames, _NORTH, "latitude") if name == "y" else _plane(
        frames, _EAST, "longitude"
    )  # fmt: skip
    if plane is None or name not in plane.dims:
        return False
    steps = plane.diff(name).values
    if name == "x":
        steps = (steps + 180) % 360 - 180
    steps = steps[np.isfinite(steps)]
    return bool(steps.size and np.median(steps) < 0)


def _listed(frames: xr.DataArray) -> str:
    return f"({', '.join(str(name) for name in frames.dims) or 'none'})"
