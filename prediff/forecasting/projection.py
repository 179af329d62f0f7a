"""Where frames lie: an event's projection, from the catalog, and a map's grid as CF writes it.

H, W pixels.
"""

import re
from collections.abc import Hashable
from typing import Any

import numpy as np

from hpc.errors import UserError
from prediff.data.catalog import Event
from prediff.data.formats.image import MapGrid
from prediff.data.formats.projection import projection_of, to_map

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
    event: Event, *, height: int, width: int, pixel_metres: float
) -> tuple[dict[Hashable, Any] | None, str | None]:
    """Return axes and grid mapping of an event's frames, and the mapping's name.

    None where the catalog says no projection, or one that needs pyproj and pyproj is not there.
    The catalog gives the lower left corner; row 0 is the southern one.
    """
    placed = _placed(event)
    if placed is None:
        return None, None
    (x, y), mapping = placed
    return {
        "y": _axis("y", y + (np.arange(height) + 0.5) * pixel_metres),
        "x": _axis("x", x + (np.arange(width) + 0.5) * pixel_metres),
        GRID_MAPPING: ((), 0, mapping),
    }, GRID_MAPPING


def map_coordinates(grid: MapGrid) -> tuple[dict[Hashable, Any], str | None]:
    """Return axes of a map's grid, its grid mapping, and the mapping's name; None in degrees."""
    import pyproj

    crs = pyproj.CRS.from_user_input(grid.projection)
    if crs.is_geographic:
        names = ("y", "latitude", "degrees_north"), ("x", "longitude", "degrees_east")
        values = {"y": grid.y, "x": grid.x}
        return {
            name: (name, values[name], {"standard_name": standard, "units": units})
            for name, standard, units in names
        }, None
    mapping = {key: value for key, value in crs.to_cf().items() if not isinstance(value, list)}
    return {
        "y": _axis("y", grid.y),
        "x": _axis("x", grid.x),
        GRID_MAPPING: ((), 0, mapping | {"proj4": grid.projection}),
    }, GRID_MAPPING


def _placed(event: Event) -> tuple[tuple[float, float], dict[str, Any]] | None:
    """Return the corner on the map and the grid mapping of an event."""
    if event.corner is None or not event.projection.strip():
        return None
    latitude, longitude = event.corner
    found = dict(re.findall(r"\+(\w+)=(\S+)", event.projection))
    try:
        origin = float(found["lat_0"]), float(found["lon_0"])
        radius = float(found.get("a") or found["R"])
    except (KeyError, ValueError):
        return _placed_by_proj(event)
    if found.get("proj") != "laea" or {"x_0", "y_0", "b", "rf"} & set(found):
        return _placed_by_proj(event)
    corner = lambert_azimuthal_equal_area(
        latitude=latitude, longitude=longitude, origin=origin, radius=radius
    )
    return corner, {
        "grid_mapping_name": "lambert_azimuthal_equal_area",
        "latitude_of_projection_origin": origin[0],
        "longitude_of_projection_origin": origin[1],
        "false_easting": 0.0,
        "false_northing": 0.0,
        "earth_radius": radius,
        "proj4": event.projection,
    }


def _placed_by_proj(event: Event) -> tuple[tuple[float, float], dict[str, Any]] | None:
    if "+proj=" not in event.projection or event.corner is None:
        return None
    try:
        crs = projection_of(event.projection)
        if crs.is_geographic:
            return None
        x, y = to_map(event.projection, event.corner[1], event.corner[0], event.id)
        mapping = {key: value for key, value in crs.to_cf().items() if not isinstance(value, list)}
    except UserError:
        return None
    if "grid_mapping_name" not in mapping:
        return None
    return (float(x), float(y)), mapping | {"proj4": event.projection}


def _axis(name: str, centres: np.ndarray) -> tuple[str, np.ndarray, dict[str, str]]:
    attributes = {
        "standard_name": f"projection_{name}_coordinate",
        "units": "m",
        "axis": name.upper(),
    }
    return name, centres, attributes
