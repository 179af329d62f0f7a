"""MeteoSwiss's composites as GIF: the index into the palette is the code.

Source: as pysteps reads them (`pysteps.io.importers.import_mch_gif`), products AQC and CPC.
"""

import re
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from hpc.errors import UserError
from prediff.data.file_guard import check_promise
from prediff.data.formats.image import MapGrid, RadarImage, even_axis, hourly_rate
from prediff.data.quantity import RAIN_RATE

_NAME = re.compile(r"^(AQC|CPC)(\d{2})(\d{3})(\d{2})(\d{2})")
_PROJECTION = (
    "+proj=somerc +lon_0=7.43958333333333 +lat_0=46.9524055555556 +k_0=1 +x_0=600000 +y_0=200000 "
    "+ellps=bessel +towgs84=674.374,15.056,405.346,0,0,0,0 +units=m +no_defs"
)
_WEST, _SOUTH, _PIXEL, _SIZE = 255_000.0, -160_000.0, 1000.0, (640, 710)
_MINUTES = re.compile(rb"ACCUm=0*(\d+)")


def meteoswiss_time(path: Path) -> np.datetime64:
    """Return the time in a file's name: product, year, day of year, hour and minute.

    Raises:
        UserError: another name, or no time.
    """
    match = _NAME.match(path.name)
    if not match:
        raise UserError(f"{path}: the time is in the name of such files, as AQC161932045V.gif")
    year, day, hour, minute = (int(match[k]) for k in range(2, 6))
    if not (1 <= day <= 366 and hour < 24 and minute < 60):
        raise UserError(f"{path}: the name's time is none")
    first = datetime(2000 + year, 1, 1)
    return np.datetime64(first + timedelta(days=day - 1, hours=hour, minutes=minute), "ns")


def read_meteoswiss_gif(data: bytes, path: Path) -> RadarImage:
    """Return rain; code 255 is outside, 0 and 1 are dry.

    Raises:
        UserError: another picture.
    """
    time = meteoswiss_time(path)
    try:
        with Image.open(BytesIO(data), formats=["GIF"]) as picture:
            check_promise(picture.size, stored_bytes=len(data), place=path)
            if picture.mode != "P" or picture.size[::-1] != _SIZE:
                raise UserError(f"{path} is {picture.size}, {picture.mode}: no Swiss composite")
            codes = np.asarray(picture)
    except (OSError, SyntaxError) as error:
        raise UserError(f"{path} is no GIF that can be read: {error}") from None
    found = _MINUTES.search(data[:4096])
    if not found:
        raise UserError(f"{path} does not say over how many minutes it accumulates (ACCUm)")
    minutes = float(found[1])
    table = (10 ** ((np.arange(256) - 71.5) / 20) / 316) ** (1 / 1.5)
    table[[0, 1, *range(251, 255)]] = 0.0
    table[255] = np.nan
    rows, columns = _SIZE
    return RadarImage(
        values=hourly_rate(table[codes][::-1], minutes=minutes, place=path).astype(np.float32),
        quantity=RAIN_RATE,
        time=time,
        grid=MapGrid(
            projection=_PROJECTION,
            x=even_axis(first_edge=_WEST, size=columns, pixel=_PIXEL),
            y=even_axis(first_edge=_SOUTH, size=rows, pixel=_PIXEL),
        ),
        accumulated_minutes=minutes,
        producer="MeteoSwiss",
    )
