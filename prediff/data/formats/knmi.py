"""KNMI's HDF5 composites.

Source: H. Roozekrans and I. Holleman, KNMI HDF5 data format specification, 3.5 (TR-269).
"""

import re
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np

from hpc.errors import UserError
from prediff.data.file_guard import check_dataset
from prediff.data.formats.image import MapGrid, RadarImage, even_axis, hourly_rate
from prediff.data.formats.odim import attribute, text
from prediff.data.quantity import RAIN_RATE, REFLECTIVITY, Quantity

_FORMULA = re.compile(r"\s*GEO\s*=\s*([-+.\deE]+)\s*\*\s*PV\s*([-+]\s*[.\deE]+)?\s*$")


def is_knmi(file: h5py.File) -> bool:
    """Return whether a file has the groups of KNMI's format."""
    return all(name in file for name in ("geographic", "image1", "overview"))


def read_knmi(file: h5py.File, path: Path) -> RadarImage:
    """Return the first image: an accumulation, or reflectivity.

    Raises:
        UserError: an attribute is missing or cannot be understood.
    """
    formula = text(attribute(file, "image1/calibration", "calibration_formulas", path))
    match = _FORMULA.match(formula)
    if not match:
        raise UserError(f"{path} is calibrated by {formula!r}, expected GEO=a*PV+b")
    gain, offset = float(match[1]), float((match[2] or "0").replace(" ", ""))
    if "image_data" not in file["image1"]:
        raise UserError(f"{path} has no image_data in image1: it is not complete")
    pixels = file["image1/image_data"]
    check_dataset(pixels, place=path)
    raw = pixels[...]
    values = raw.astype(np.float64) * gain + offset
    for name in ("calibration_missing_data", "calibration_out_of_image"):
        values[raw == _number(file, "image1/calibration", name, path)] = np.nan
    quantity, minutes = _meaning(file, path)
    if minutes is not None:
        values = hourly_rate(values, minutes=minutes, place=path)
    grid, north_first = _grid(file, raw.shape, path)
    return RadarImage(
        values=(values[::-1] if north_first else values).astype(np.float32),
        quantity=quantity,
        time=knmi_time(file, path),
        grid=grid,
        accumulated_minutes=minutes,
        producer="KNMI",
    )


def knmi_time(file: h5py.File, path: Path, *, which: str = "end") -> np.datetime64:
    """Return when the product ends, or starts."""
    said = text(attribute(file, "overview", f"product_datetime_{which}", path))
    try:
        time = datetime.strptime(said.title(), "%d-%b-%Y;%H:%M:%S.%f")
    except ValueError:
        raise UserError(
            f"{path} has the time {said!r}, expected 26-AUG-2010;00:00:00.000"
        ) from None
    return np.datetime64(time, "ns")


def _meaning(file: h5py.File, path: Path) -> tuple[Quantity, float | None]:
    said = text(attribute(file, "image1", "image_geo_parameter", path)).upper()
    if "PRECIPITATION" in said and "MM" in said:
        start, end = (knmi_time(file, path, which=which) for which in ("start", "end"))
        return RAIN_RATE, float((end - start) / np.timedelta64(60, "s"))
    if "REFLECTIVITY" in said:
        return REFLECTIVITY, None
    raise UserError(f"{path} holds {said}: expected precipitation in mm, or reflectivity")


def _number(file: h5py.File, group: str, name: str, path: Path) -> float:
    return float(np.asarray(attribute(file, group, name, path)).ravel()[0])


def _grid(file: h5py.File, shape: tuple[int, ...], path: Path) -> tuple[MapGrid, bool]:
    """Return the grid in metres, and whether the file's rows are from the north."""

    def geographic(name: str) -> float:
        return _number(file, "geographic", name, path)

    height, width = shape
    if (geographic("geo_number_rows"), geographic("geo_number_columns")) != (height, width):
        raise UserError(f"{path}: the geographic group and the image differ in size")
    units = text(attribute(file, "geographic", "geo_dim_pixel", path)).upper().split(",")
    metres = {"KM": 1000.0, "M": 1.0}.get(units[0])
    if metres is None:
        raise UserError(f"{path} has pixels in {units[0]}, expected KM or M")
    # Offsets count pixels from the projection's origin to the image's upper left corner.
    pixel_x, pixel_y = (geographic(f"geo_pixel_size_{axis}") * metres for axis in "xy")
    west = geographic("geo_column_offset") * pixel_x
    top = geographic("geo_row_offset") * pixel_y
    foot = top + height * pixel_y
    projection = text(attribute(file, "geographic/map_projection", "projection_proj4_params", path))
    return (
        MapGrid(
            projection=_in_metres(projection),
            x=even_axis(first_edge=west, size=width, pixel=pixel_x),
            y=even_axis(first_edge=min(top, foot), size=height, pixel=abs(pixel_y)),
        ),
        pixel_y < 0,
    )


def _in_metres(projection: str) -> str:
    """KNMI states the Earth's axes in km, which makes PROJ's metres kilometres."""

    def longer(match: re.Match[str]) -> str:
        length = float(match[2])
        return f"+{match[1]}={length * 1000 if length < 10_000 else length:.3f}"

    return re.sub(r"\+([ab])=([\d.]+)", longer, projection)
