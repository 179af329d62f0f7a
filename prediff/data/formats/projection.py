"""Map projections, by PROJ; from the extra ``radar``."""

from functools import lru_cache
from typing import Any

import numpy as np

from hpc.errors import UserError


@lru_cache(maxsize=64)
def projection_of(text: str) -> Any:
    """Return a ``pyproj.CRS``.

    Raises:
        UserError: pyproj is not installed, or PROJ does not know the projection.
    """
    try:
        import pyproj
    except ImportError:
        raise UserError(
            "maps need pyproj: pip install 'prediff-hpc[radar]', or in a checkout "
            "PREDIFF_EXTRAS=dev,mpi,radar"
        ) from None
    try:
        return pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError:
        raise UserError(f"PROJ does not know the projection {text[:200]!r}") from None


def to_map(projection: str, longitude: Any, latitude: Any, place: object) -> tuple[Any, Any]:
    """Return x and y of places in degrees (WGS 84).

    Raises:
        UserError: places that the projection cannot show.
    """
    return transform("EPSG:4326", projection, longitude, latitude, place)


def to_degrees(projection: str, x: Any, y: Any, place: object) -> tuple[Any, Any]:
    """Return longitude and latitude (WGS 84) of places on a map."""
    return transform(projection, "EPSG:4326", x, y, place)


def transform(source: str, target: str, x: Any, y: Any, place: object) -> tuple[Any, Any]:
    """Return places of one map on another, x (or longitude) first on both.

    Raises:
        UserError: places that the target cannot show.
    """
    import_ready = projection_of(source), projection_of(target)
    import pyproj

    # Services state corners on their own ellipsoid or sphere: no shift of datum is meant.
    east, north = pyproj.Transformer.from_crs(
        import_ready[0].geodetic_crs if source == "EPSG:4326" else import_ready[0],
        import_ready[1],
        always_xy=True,
    ).transform(x, y)
    if not (np.isfinite(east).all() and np.isfinite(north).all()):
        raise UserError(f"{place}: {target} cannot show the places that {source} has")
    return east, north


def is_in_degrees(projection: str) -> bool:
    """Return whether a map's coordinates are longitudes and latitudes."""
    return bool(projection_of(projection).is_geographic)
