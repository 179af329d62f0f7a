"""DWD's RADOLAN composites: rain in mm, and reflectivity, on the national grid.

Source: DWD, RADOLAN/RADVOR-OP Kompositformat, versions 2.x.
"""

import re
from pathlib import Path

import numpy as np

from hpc.errors import UserError
from prediff.data.formats.image import MapGrid, RadarImage, even_axis, hourly_rate
from prediff.data.quantity import RAIN_RATE, REFLECTIVITY

_START = re.compile(rb"^([A-Z]{2})(\d{2})(\d{2})(\d{2})(\d{5})(\d{2})(\d{2})BY")
_PROJECTION = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +a=6370040 +b=6370040 +no_defs"
_CORNERS = {(900, 900): (-523_462.2, -4_658_644.8), (1100, 900): (-443_462.2, -4_758_644.8)}
"""x and y of the lower left corner, metres, by rows and columns."""

_DBZ_PRODUCTS = ("RX", "WX", "EX")
_MISSING_BIT, _NEGATIVE_BIT, _CLUTTER_BIT, _VALUE = 0x2000, 0x4000, 0x8000, 0x0FFF
_NO_DBZ, _DBZ_CLUTTER = 250, 249


def is_radolan(data: bytes) -> bool:
    """Return whether bytes begin with RADOLAN's header."""
    return _START.match(data[:30]) is not None


def read_radolan(data: bytes, path: Path) -> RadarImage:
    """Return rain as mm/h of the interval that the header names, or reflectivity.

    Raises:
        UserError: another product or grid, or fewer bytes than the header promises.
    """
    header, body = radolan_header(data, path), data.split(b"\x03", 1)[-1]
    product = header["product"]
    rows, columns = header["rows"], header["columns"]
    corner = _CORNERS.get((rows, columns))
    if corner is None:
        raise UserError(f"{path} has {rows} x {columns} pixels, a grid that is not known")
    width = 1 if product in _DBZ_PRODUCTS else 2
    if len(body) != rows * columns * width:
        raise UserError(
            f"{path} is truncated or another product: {len(body)} bytes of pixels, expected "
            f"{rows * columns * width}"
        )
    raw = np.frombuffer(body, "u1" if width == 1 else "<u2").reshape(rows, columns)
    minutes = None
    if product in _DBZ_PRODUCTS:
        values = np.where(raw >= _DBZ_CLUTTER, np.nan, raw / 2 - 32.5)
        quantity = REFLECTIVITY
    else:
        minutes = float(header["minutes"])
        values = (raw & _VALUE) * header["precision"]
        values = np.where(raw & _NEGATIVE_BIT, 0.0, values)
        values = np.where(raw & (_MISSING_BIT | _CLUTTER_BIT), np.nan, values)
        values = hourly_rate(values, minutes=minutes, place=path)
        quantity = RAIN_RATE
    return RadarImage(
        values=values.astype(np.float32),
        quantity=quantity,
        time=header["time"],
        grid=MapGrid(
            projection=_PROJECTION,
            x=even_axis(first_edge=corner[0], size=columns, pixel=1000.0),
            y=even_axis(first_edge=corner[1], size=rows, pixel=1000.0),
        ),
        accumulated_minutes=minutes,
        producer="Deutscher Wetterdienst",
    )


def radolan_header(data: bytes, path: Path) -> dict:
    """Return product, time, precision, minutes, rows and columns.

    Raises:
        UserError: a header that cannot be read.
    """
    match = _START.match(data[:30])
    end = data.find(b"\x03", 0, 4096)
    if not match or end < 0:
        raise UserError(f"{path} has no header of RADOLAN")
    text = data[:end].decode("latin-1")
    product = match[1].decode()
    day, hour, minute, _, month, year = (int(match[k]) for k in range(2, 8))
    precision = re.search(r"PR E-(\d\d)", text)
    interval = re.search(r"INT\s*(\d+)", text)
    size = re.search(r"GP\s*(\d+)\s*x\s*(\d+)", text)
    if not size or (product not in _DBZ_PRODUCTS and not (precision and interval)):
        raise UserError(f"{path}: the header lacks its precision (PR), interval (INT) or size (GP)")
    try:
        time = np.datetime64(f"20{year:02d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}", "ns")
    except ValueError:
        raise UserError(f"{path}: the header's time is none") from None
    return {
        "product": product,
        "time": time,
        "precision": 10.0 ** -int(precision[1]) if precision else 1.0,
        "minutes": int(interval[1]) if interval else 0,
        "rows": int(size[1]),
        "columns": int(size[2]),
    }
