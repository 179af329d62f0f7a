"""GeoTIFF, as FMI and others deliver it; by rasterio, from the extra ``radar``."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from hpc.errors import UserError
from prediff.data.file_guard import check_promise, first_line
from prediff.data.formats.image import MapGrid, RadarImage
from prediff.data.formats.odim import compact_time
from prediff.data.quantity import quantity_of_units

_ITEM = re.compile(r'<Item name="([^"]{1,40})"([^>]{0,80})>([^<]{0,80})</Item>')
_UNITS = re.compile(r'unit="([^"]{1,20})"')


def read_geotiff(path: Path) -> RadarImage:
    """Return the first band: gain, offset, nodata, undetect, units and time from its metadata.

    Raises:
        UserError: rasterio is not installed, or the file lacks units, time or place.
    """
    rasterio = _rasterio()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path, driver="GTiff") as file:
                said = _metadata(file)
                if file.crs is None:
                    raise UserError(f"{path} does not say in which projection it is")
                step = file.transform
                if step.b or step.d:
                    raise UserError(f"{path} is turned against its axes: reproject it first")
                check_promise(
                    (file.height, file.width), stored_bytes=path.stat().st_size, place=path
                )
                raw = file.read(1)
                projection = file.crs.to_wkt()
    except rasterio.errors.RasterioError as error:
        raise UserError(f"{path} cannot be read as GeoTIFF: {first_line(error)}") from None
    for needed in ("units", "time"):
        if not said.get(needed):
            raise UserError(f"{path} does not say its {needed}: it is not complete")
    quantity, factor = quantity_of_units(said["units"], place=str(path))
    values = (raw.astype(np.float64) * said["gain"] + said["offset"]) * factor
    if said["nodata"] is not None:
        values[raw == said["nodata"]] = np.nan
    if said["undetect"] is not None:
        values[raw == said["undetect"]] = quantity.dry
    height, width = raw.shape
    x = step.c + (np.arange(width) + 0.5) * step.a
    y = step.f + (np.arange(height) + 0.5) * step.e
    if step.e < 0:
        values, y = values[::-1], y[::-1]
    return RadarImage(
        values=values.astype(np.float32),
        quantity=quantity,
        time=said["time"] if isinstance(said["time"], np.datetime64) else _time(said["time"], path),
        grid=MapGrid(projection=projection, x=x, y=y),
    )


def _rasterio() -> Any:
    try:
        import rasterio
        import rasterio.errors
    except ImportError:
        raise UserError("GeoTIFF needs rasterio: pip install 'prediff-hpc[radar]'") from None
    return rasterio


def _metadata(file: Any) -> dict[str, Any]:
    """Return gain, offset, nodata, undetect, units and time: of GDAL's tags, or FMI's items."""
    tags = file.tags()
    items = {name: (text, _UNITS.search(rest)) for name, rest, text in
             _ITEM.findall(tags.get("GDAL_METADATA", ""))}  # fmt: skip
    units = next((match[1] for _, match in items.values() if match), None) or file.units[0]
    stamp = items["Observation time"][0] if "Observation time" in items else (
        tags.get("TIFFTAG_DATETIME", "")
    )  # fmt: skip

    def number(name: str, otherwise: float | None) -> float | None:
        return float(items[name][0]) if name in items else otherwise

    return {
        "gain": number("Gain", file.scales[0]),
        "offset": number("Offset", file.offsets[0]),
        "nodata": number("Nodata", file.nodata),
        "undetect": number("Undetect", None),
        "units": units,
        "time": stamp,
    }


def _time(stamp: str, path: Path) -> np.datetime64:
    digits = re.sub(r"\D", "", stamp)
    return compact_time(digits[:8], digits[8:].ljust(6, "0"), path)
