"""CF netCDF and zarr, and GRIB2 of MRMS: what xarray opens.

Many images may be in one file, one a time.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr

from hpc.errors import UserError
from prediff.data.file_guard import check_promise, first_line, stored_bytes
from prediff.data.formats.image import MapGrid, RadarImage, hourly_rate
from prediff.data.formats.projection import projection_of
from prediff.data.gridded import chosen_units, mask_invalid, named_code, read_gridded
from prediff.data.orientation import around, as_frames, is_longitude
from prediff.data.quantity import RAIN_RATE, REFLECTIVITY, Quantity, quantity_of_units

_SUMS = ("precipitation_amount", "rainfall_amount", "lwe_thickness_of_precipitation_amount")
_SUM_UNITS = ("kgm-2", "mm", "kg/m2")
_MRMS_DISCIPLINE = 209
_MRMS: dict[tuple, Quantity] = {(6, 1): RAIN_RATE, (10, 0): REFLECTIVITY, (9, 0): REFLECTIVITY}
"""MRMS's own table: precipitation rate, and composites of reflectivity, by category and number."""


def read_cf(path: Path) -> Iterator[RadarImage]:
    """Yield the images of a netCDF file or zarr folder.

    Raises:
        UserError: as `read_gridded`; units, or an accumulation's interval, that are not said.
    """
    frames = mask_invalid(read_gridded(path))
    intervals = _intervals(frames, path)
    values, quantity = _values(frames, intervals, path)
    grid = _grid(frames, path)
    for row, time in enumerate(frames["time"].values):
        yield RadarImage(
            values=values[row].astype(np.float32),
            quantity=quantity,
            time=time.astype("datetime64[ns]"),
            grid=grid,
            accumulated_minutes=None if intervals is None else float(intervals[row]),
        )


def read_mrms(path: Path) -> Iterator[RadarImage]:
    """Yield the image of an MRMS GRIB2 file; negative codes are no coverage and missing.

    Raises:
        UserError: cfgrib is not installed, or the file is another product.
    """
    try:
        import cfgrib  # noqa: F401
    except (ImportError, RuntimeError):
        raise UserError(
            "GRIB2 needs cfgrib and eccodes: pip install 'prediff-hpc[radar]'"
        ) from None
    keys = ["discipline", "parameterCategory", "parameterNumber"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with xr.open_dataset(
                path, engine="cfgrib", backend_kwargs={"indexpath": "", "read_keys": keys}
            ) as dataset:
                name = next(iter(dataset.data_vars), None)
                if name is None:
                    raise UserError(f"{path} holds no field of GRIB2")
                field = dataset[name]
                check_promise(field.shape, stored_bytes=stored_bytes(path), place=path)
                frames = field.load()
    except UserError:
        raise
    except Exception as error:  # eccodes' and cfgrib's, of many kinds
        raise UserError(f"{path} cannot be read as GRIB2: {first_line(error)}") from None
    product = tuple(frames.attrs.get(f"GRIB_{key}") for key in keys)
    quantity = _MRMS.get(product[1:]) if product[0] == _MRMS_DISCIPLINE else None
    if quantity is None:
        raise UserError(
            f"{path} is GRIB2 discipline, category, number {product}: expected MRMS's rain rate "
            "(209, 6, 1) or composite reflectivity (209, 10, 0)"
        )
    time = frames.coords["valid_time"].values
    frames = frames.reset_coords(drop=True).expand_dims(time=[time])
    frames = as_frames(frames, place=str(path))
    values = frames.values[0].astype(np.float64)
    lowest = -99.0 if quantity is REFLECTIVITY else 0.0  # MRMS: -999 no coverage, -99 no echo
    values[values < lowest] = np.nan
    if quantity is REFLECTIVITY:
        values[values == -99.0] = quantity.dry
    yield RadarImage(
        values=values.astype(np.float32),
        quantity=quantity,
        time=np.datetime64(time, "ns"),
        grid=_grid(frames, path),
        producer="NOAA MRMS",
    )


def _values(
    frames: xr.DataArray, intervals: np.ndarray | None, path: Path
) -> tuple[np.ndarray, Quantity]:
    coded = named_code(frames)
    if coded is not None:
        return np.where(np.isnan(frames.values), np.nan, coded.decode(frames.values)), coded
    if intervals is not None:
        return (
            np.stack(
                [
                    hourly_rate(frame, minutes=float(minutes), place=path)
                    for frame, minutes in zip(frames.values, intervals, strict=True)
                ]
            ),
            RAIN_RATE,
        )
    quantity, factor = quantity_of_units(chosen_units(frames), place=str(path))
    return frames.values * factor, quantity


def _intervals(frames: xr.DataArray, path: Path) -> np.ndarray | None:
    """Return the minutes of accumulations ``[T]``, None for what is not accumulated."""
    units = "".join(chosen_units(frames).lower().split())
    standard = str(frames.attrs.get("standard_name", ""))
    if not (standard in _SUMS and units in _SUM_UNITS) and units != "mm":
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = "zarr" if path.is_dir() else "netcdf4"
        with xr.open_dataset(path, engine=engine) as dataset:
            for name, variable in dataset.variables.items():
                is_start = "start" in str(name) and np.issubdtype(variable.dtype, np.datetime64)
                if is_start:
                    starts = np.atleast_1d(variable.values)
                    return np.broadcast_to(
                        (frames["time"].values - starts) / np.timedelta64(60, "s"),
                        frames.sizes["time"],
                    )
            bounds = str(dataset["time"].attrs.get("bounds", "")) if "time" in dataset else ""
            if bounds in dataset.variables:
                spans = np.diff(dataset[bounds].values, axis=-1).reshape(-1)
                return spans / np.timedelta64(60, "s")
    raise UserError(
        f"{path} accumulates ({units}) and does not say over which time: add start_time or "
        "time_bnds (CF)"
    )


def _grid(frames: xr.DataArray, path: Path) -> MapGrid:
    for name in ("y", "x"):
        if name not in frames.coords or frames[name].ndim != 1:
            raise UserError(f"{path} does not say where it lies: {name} is no coordinate")
    x, y = (frames[name].values.astype(np.float64) for name in ("x", "y"))
    if is_longitude(frames["x"], "x") or str(frames["y"].attrs.get("standard_name")) == "latitude":
        x = np.unwrap(around(x, near=float(np.median(x))), period=360)
        return MapGrid(projection="EPSG:4326", x=_even(x, path), y=_even(y, path))
    metres = {"km": 1000.0, "m": 1.0, "metre": 1.0, "meter": 1.0, "metres": 1.0, "meters": 1.0}
    factor = metres.get(str(frames["x"].attrs.get("units", "")).lower())
    if factor is None:
        raise UserError(f"{path}: x has no units, expected m or km")
    return MapGrid(
        projection=_projection(frames, path), x=_even(x * factor, path), y=_even(y * factor, path)
    )


def _even(axis: np.ndarray, path: Path) -> np.ndarray:
    steps = np.diff(axis)
    if len(steps) and np.abs(steps - steps.mean()).max() > 0.05 * abs(steps.mean()):
        raise UserError(f"{path} has pixels of different sizes")
    return axis


def _projection(frames: xr.DataArray, path: Path) -> str:
    name = frames.encoding.get("grid_mapping")
    attributes = frames.coords[name].attrs if name in frames.coords else {}
    for key in ("proj4", "proj4text", "proj4_params", "crs_wkt", "spatial_ref"):
        if attributes.get(key):
            projection_of(str(attributes[key]))
            return str(attributes[key])
    if "grid_mapping_name" not in attributes:
        raise UserError(f"{path} does not say in which projection it is: add a grid mapping (CF)")
    projection_of("EPSG:4326")  # says what to install
    import pyproj

    try:
        return pyproj.CRS.from_cf(dict(attributes)).to_wkt()
    except (pyproj.exceptions.CRSError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: PROJ does not know its grid mapping: {first_line(error)}"
        ) from None
