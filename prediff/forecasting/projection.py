"""Where a SEVIR event lies: its Lambert azimuthal equal-area projection, from the catalog.

H, W pixels.
"""

import csv
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np

from prediff.data.catalog import catalog_path

GRID_MAPPING = "crs"


def lambert_azimuthal_equal_area(
    *, latitude: float, longitude: float, origin: tuple[float, float], radius: float
) -> tuple[float, float]:
    """Return x and y in metres of a place in degrees, on a sphere.

    Args:
        origin: latitude and longitude of the projection's origin, degrees.
        radius: of the sphere, metres.

    Source: Snyder 1987, Map Projections: A Working Manual, equations 22-4, 22-5 and 24-2.
    """
    lat, lat_0 = np.radians((latitude, origin[0]))
    lon = np.radians(longitude - origin[1])
    along = np.sin(lat_0) * np.sin(lat) + np.cos(lat_0) * np.cos(lat) * np.cos(lon)
    scale = radius * np.sqrt(2 / (1 + along))
    x = scale * np.cos(lat) * np.sin(lon)
    y = scale * (np.cos(lat_0) * np.sin(lat) - np.sin(lat_0) * np.cos(lat) * np.cos(lon))
    return float(x), float(y)


def event_grid(
    root: Path, event_id: str, *, height: int, width: int, pixel_metres: float
) -> dict[Hashable, Any] | None:
    """Return axes and grid mapping of an event's frames, None where the catalog has no projection.

    The catalog gives the lower left corner; row 0 is the southern one.
    """
    with catalog_path(root).open(newline="", encoding="utf-8") as file:
        rows = (row for row in csv.DictReader(file) if row["img_type"] == "vil")
        row = next(row for row in rows if row["id"] == event_id)
    text = row.get("proj") or ""
    found = dict(re.findall(r"\+(\w+)=(\S+)", text))
    try:
        origin = float(found["lat_0"]), float(found["lon_0"])
        radius = float(found.get("a") or found["R"])
        corner = {"latitude": float(row["llcrnrlat"]), "longitude": float(row["llcrnrlon"])}
    except (KeyError, TypeError, ValueError):
        return None
    if found.get("proj") != "laea":
        return None
    x, y = lambert_azimuthal_equal_area(**corner, origin=origin, radius=radius)

    def axis(name: str, start: float, size: int) -> tuple[str, np.ndarray, dict[str, str]]:
        attributes = {
            "standard_name": f"projection_{name}_coordinate",
            "units": "m",
            "axis": name.upper(),
        }
        return name, start + (np.arange(size) + 0.5) * pixel_metres, attributes

    mapping = {
        "grid_mapping_name": "lambert_azimuthal_equal_area",
        "latitude_of_projection_origin": origin[0],
        "longitude_of_projection_origin": origin[1],
        "false_easting": 0.0,
        "false_northing": 0.0,
        "earth_radius": radius,
        "proj4": text,
    }
    return {"y": axis("y", y, height), "x": axis("x", x, width), GRID_MAPPING: ((), 0, mapping)}
