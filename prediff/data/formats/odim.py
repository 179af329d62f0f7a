"""ODIM HDF5 composites (OPERA and national services).

Source: EUMETNET OPERA, OPERA Data Information Model for HDF5, versions 2.0 to 2.4.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc.errors import UserError
from prediff.data.file_guard import check_dataset
from prediff.data.formats.image import MapGrid, RadarImage, even_axis, hourly_rate
from prediff.data.formats.projection import to_map
from prediff.data.quantity import RAIN_RATE, REFLECTIVITY

_REFLECTIVITIES = ("DBZH", "TH", "DBZV", "TV", "DBZ")
_RATES = ("RATE",)
_SUMS = ("ACRR",)
_PRODUCTS = ("COMP", "CVOL", "IMAGE")


def is_odim(file: h5py.File) -> bool:
    """Return whether a file is ODIM's: it says so, or has its groups."""
    said = text(file.attrs.get("Conventions", ""))
    return said.startswith("ODIM") or ("what" in file and "where" in file and "dataset1" in file)


def read_odim(file: h5py.File, path: Path) -> RadarImage:
    """Return the first rain rate, reflectivity or accumulation of a composite.

    Where several are there, rates come before reflectivities before sums.

    Raises:
        UserError: no composite, no such quantity, or an attribute is missing.
    """
    kind = text(attribute(file, "what", "object", path))
    if kind not in _PRODUCTS:
        raise UserError(f"{path} is an ODIM {kind}, expected a composite (COMP)")
    found: dict[str, tuple[str, str]] = {}
    for dataset_name in sorted(name for name in file if name.startswith("dataset")):
        dataset = file[dataset_name]
        for data_name in sorted(name for name in dataset if name.startswith("data")):
            for levels in ((dataset[data_name], dataset, file), (dataset, file)):
                quantity = _inherited(levels, "what", "quantity")
                if quantity is not None:
                    found.setdefault(text(quantity), (dataset_name, data_name))
                    break
    wanted = [name for name in (*_RATES, *_REFLECTIVITIES, *_SUMS) if name in found]
    if not wanted:
        raise UserError(
            f"{path} holds {', '.join(sorted(found)) or 'no quantity'}: expected one of "
            f"{', '.join((*_RATES, *_REFLECTIVITIES, *_SUMS))}"
        )
    quantity = wanted[0]
    dataset_name, data_name = found[quantity]
    levels = (file[dataset_name][data_name], file[dataset_name], file)

    def said(name: str) -> float:
        value = _inherited(levels, "what", name)
        if value is None:
            raise UserError(f"{path}: {quantity} has no {name}: the calibration is not complete")
        return float(np.asarray(value).ravel()[0])

    pixels = levels[0]["data"]
    check_dataset(pixels, place=path)
    raw = pixels[...]
    values = raw.astype(np.float64) * said("gain") + said("offset")
    values[raw == said("nodata")] = np.nan
    minutes = None
    if quantity in _REFLECTIVITIES:
        kind_of_value, dry = REFLECTIVITY, REFLECTIVITY.dry
    else:
        kind_of_value, dry = RAIN_RATE, 0.0
    values[raw == said("undetect")] = dry
    if quantity in _SUMS:
        minutes = _minutes(levels, path)
        values = hourly_rate(values, minutes=minutes, place=path)
    return RadarImage(
        values=values[::-1].astype(np.float32),
        quantity=kind_of_value,
        time=_nominal_time(file, path),
        grid=_grid(file, levels, raw.shape, path),
        accumulated_minutes=minutes,
        producer=text(file["what"].attrs.get("source", "")),
    )


def odim_time(file: h5py.File, path: Path) -> np.datetime64:
    """Return the nominal time alone."""
    return _nominal_time(file, path)


def text(value: Any) -> str:
    """Return an attribute as text, whatever kind of string HDF5 has of it."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def attribute(file: h5py.Group, group: str, name: str, path: Path) -> Any:
    """Return an attribute of a group.

    Raises:
        UserError: it is not there.
    """
    if group not in file or name not in file[group].attrs:
        raise UserError(f"{path} has no attribute {name} in {group}: it is not complete")
    return file[group].attrs[name]


def _inherited(levels: tuple[h5py.Group, ...], group: str, name: str) -> Any:
    """Return an attribute of the nearest level that has it, as ODIM's inheritance says."""
    for level in levels:
        if group in level and name in level[group].attrs:
            return level[group].attrs[name]
    return None


def compact_time(date: str, time: str, path: Path) -> np.datetime64:
    """Return the time of ``YYYYMMDD`` and ``HHMMSS``."""
    if len(date) != 8 or len(time) != 6 or not (date + time).isdigit():
        raise UserError(f"{path} has the time {date} {time}, expected YYYYMMDD and HHMMSS")
    try:
        return np.datetime64(
            f"{date[:4]}-{date[4:6]}-{date[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}", "ns"
        )
    except ValueError:
        raise UserError(f"{path} has the time {date} {time}, which is none") from None


def _nominal_time(file: h5py.File, path: Path) -> np.datetime64:
    return compact_time(
        text(attribute(file, "what", "date", path)),
        text(attribute(file, "what", "time", path)),
        path,
    )


def _minutes(levels: tuple[h5py.Group, ...], path: Path) -> float:
    ends = []
    for which in ("start", "end"):
        date, time = (_inherited(levels, "what", f"{which}{part}") for part in ("date", "time"))
        if date is None or time is None:
            raise UserError(f"{path} has no {which} of its accumulation")
        ends.append(compact_time(text(date), text(time), path))
    return float((ends[1] - ends[0]) / np.timedelta64(60, "s"))


def _grid(
    file: h5py.File, levels: tuple[h5py.Group, ...], shape: tuple[int, ...], path: Path
) -> MapGrid:
    def where(name: str) -> Any:
        value = _inherited((*levels, file), "where", name)
        if value is None:
            raise UserError(f"{path} has no attribute {name} in where: it is not complete")
        return value

    projection = text(where("projdef"))
    height, width = shape
    if (int(where("ysize")), int(where("xsize"))) != (height, width):
        raise UserError(f"{path}: where says {where('ysize')}x{where('xsize')}, data {shape}")
    west, south = to_map(projection, float(where("LL_lon")), float(where("LL_lat")), path)
    return MapGrid(
        projection=projection,
        x=even_axis(first_edge=west, size=width, pixel=float(where("xscale"))),
        y=even_axis(first_edge=south, size=height, pixel=float(where("yscale"))),
    )
