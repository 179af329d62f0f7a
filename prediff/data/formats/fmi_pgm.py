"""FMI's composites as portable grey maps; what they are stands in comments of the header."""

import re
from pathlib import Path

import numpy as np

from hpc.errors import UserError
from prediff.data.file_guard import check_promise
from prediff.data.formats.image import MapGrid, RadarImage
from prediff.data.formats.odim import compact_time
from prediff.data.formats.projection import to_map
from prediff.data.quantity import REFLECTIVITY

# What the files leave out, as pysteps knows it: the sphere, and where FMI's map begins.
_SPHERE = "+a=6371288 +x_0=380886.310 +y_0=3395677.920 +no_defs"
_HEADER = re.compile(rb"(?:\s*(?:#[^\n]*\n)|\s+)*(\d+)")


def read_fmi_pgm(data: bytes, path: Path) -> RadarImage:
    """Return the reflectivity, dBZ = (code - 64) / 2.

    Raises:
        UserError: no such file, or another projection.
    """
    said, width, height, start = _header(data, path)
    check_promise((height, width), stored_bytes=len(data), place=path)
    if len(data) - start < width * height:
        raise UserError(
            f"{path} is truncated: it has {len(data) - start} of {width * height} pixels"
        )
    raw = np.frombuffer(data, np.uint8, width * height, start).reshape(height, width)
    values = (raw.astype(np.float32) - 64) / 2
    values[raw == int(said.get("missingval", ["255"])[0])] = np.nan
    return RadarImage(
        values=values[::-1],
        quantity=REFLECTIVITY,
        time=fmi_time(said, path),
        grid=_grid(said, height, width, path),
        producer="Finnish Meteorological Institute",
    )


def fmi_time(said: dict[str, list[str]], path: Path) -> np.datetime64:
    """Return the time of observation."""
    stamp = said.get("obstime", [""])[0]
    return compact_time(stamp[:8], stamp[8:] + "00", path)


def fmi_header(data: bytes, path: Path) -> dict[str, list[str]]:
    """Return the words behind each key of the header's comments."""
    return _header(data, path)[0]


def _header(data: bytes, path: Path) -> tuple[dict[str, list[str]], int, int, int]:
    if not data.startswith(b"P5"):
        raise UserError(f"{path} is no binary PGM")
    numbers, at = [], 2
    for _ in range(3):
        match = _HEADER.match(data, at)
        if not match:
            raise UserError(
                f"{path} has a header that cannot be read: width, height, largest value"
            )
        numbers.append(int(match[1]))
        at = match.end()
    comments = re.findall(r"^#\s*(.*)$", data[:at].decode("latin-1"), re.MULTILINE)
    said = {words[0]: words[1:] for words in map(str.split, comments) if words}
    width, height, highest = numbers
    if highest > 255:
        raise UserError(f"{path} has values up to {highest}, expected one byte each")
    return said, width, height, at + 1


def _grid(said: dict[str, list[str]], height: int, width: int, path: Path) -> MapGrid:
    try:
        if said["type"][0] != "stereographic":
            raise UserError(f"{path} is {said['type'][0]}, expected stereographic")
        longitude, latitude, true = (
            float(said[name][0]) for name in ("centrallongitude", "centrallatitude", "truelatitude")
        )
        corners = [[float(word) for word in said[name]] for name in ("bottomleft", "topright")]
        (left, bottom), (right, top) = corners
    except (KeyError, IndexError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} does not say where it lies: {error}") from None
    projection = f"+proj=stere +lon_0={longitude:g} +lat_0={latitude:g} +lat_ts={true:g} {_SPHERE}"
    (west, east), (south, north) = to_map(projection, [left, right], [bottom, top], path)
    return MapGrid(
        projection=projection,
        x=west + (np.arange(width) + 0.5) * (east - west) / width,
        y=south + (np.arange(height) + 0.5) * (north - south) / height,
    )
