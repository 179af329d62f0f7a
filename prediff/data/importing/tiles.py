"""Square tiles of a composite: which source pixel each of their pixels is.

H, W pixels of a composite; S pixels of a tile's side. Pixels are taken nearest, and where a tile's
are coarser than the source's, the highest of them, as SEVIR-LR's are.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hpc.errors import UserError
from prediff.data.formats.image import MapGrid
from prediff.data.formats.projection import is_in_degrees, to_degrees, transform


@dataclass(frozen=True)
class Tile:
    """One tile.

    Attributes:
        row, column: among the tiles, from the south-west.
        rows, columns: index of the source's pixel ``[S * fine, S * fine]``; -1 is outside.
        fine: source pixels along one pixel of the tile.
        projection: of the tile; ``corner`` is the latitude and longitude of its lower left one.
    """

    row: int
    column: int
    rows: np.ndarray
    columns: np.ndarray
    fine: int
    projection: str
    corner: tuple[float, float]

    @property
    def name(self) -> str:
        return f"r{self.row:02d}c{self.column:02d}"

    def cut(self, values: np.ndarray) -> np.ndarray:
        """Return the tile ``[S, S]`` of values ``[H, W]``; NaN where missing or outside.

        A pixel of the tile is missing where one of the source's in it is.
        """
        taken = values[self.rows, self.columns]
        taken = np.where((self.rows < 0) | (self.columns < 0), np.nan, taken)
        if self.fine == 1:
            return taken
        side = len(taken) // self.fine
        parts = taken.reshape(side, self.fine, side, self.fine)
        return parts.max(axis=(1, 3))


def tiles_of(grid: MapGrid, *, side_km: float, pixels: int) -> tuple[Tile, ...]:
    """Return the tiles that fit into a composite, side by side around its middle.

    Raises:
        UserError: not one fits.
    """
    return _tiles(_Key(grid), side_km, pixels)


class _Key:
    """A grid that a cache can tell from others."""

    def __init__(self, grid: MapGrid) -> None:
        self.grid = grid

    def __hash__(self) -> int:
        return hash(self.grid.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.grid.key == self.grid.key


@lru_cache(maxsize=4)
def _tiles(key: _Key, side_km: float, pixels: int) -> tuple[Tile, ...]:
    grid = key.grid
    degrees = is_in_degrees(grid.projection)
    target = _around(grid) if degrees else grid.projection
    west, east, south, north = _extent(grid, target)
    side = side_km * 1000
    across, along = int((east - west) // side), int((north - south) // side)
    if not across or not along:
        raise UserError(
            f"a composite of {(east - west) / 1000:.0f} x {(north - south) / 1000:.0f} km holds no "
            f"tile of {side_km:g} km: choose a smaller --side-km"
        )
    left, foot = (
        west + (east - west - across * side) / 2,
        south + (north - south - along * side) / 2,
    )
    if not degrees:  # edges of tiles are edges of pixels
        step_y, step_x = grid.pixel
        left = west + (left - west + 1e-6 * step_x) // step_x * step_x
        foot = south + (foot - south + 1e-6 * step_y) // step_y * step_y
    finest = min(abs(step) for step in grid.pixel) * (111_000 if degrees else 1)
    fine = max(1, round(side / pixels / finest))
    return tuple(
        _tile(
            grid, target, row, column, left + column * side, foot + row * side, side, pixels, fine
        )
        for row in range(along)
        for column in range(across)
    )


def _around(grid: MapGrid) -> str:
    middle = float(grid.y.mean()), float(grid.x.mean())
    return (
        f"+proj=laea +lat_0={middle[0]:.4f} +lon_0={middle[1]:.4f} +a=6370997.0 +units=m +no_defs"
    )


def _extent(grid: MapGrid, target: str) -> tuple[float, float, float, float]:
    """Return west, east, south and north edge in metres of the target."""
    half_y, half_x = (abs(step) / 2 for step in grid.pixel)
    west, east = grid.x[0] - half_x, grid.x[-1] + half_x
    south, north = grid.y[0] - half_y, grid.y[-1] + half_y
    if target == grid.projection:
        return float(west), float(east), float(south), float(north)
    edges = np.linspace(0, 1, 65)
    xs, ys = west + edges * (east - west), south + edges * (north - south)
    foot = transform(grid.projection, target, xs, np.full_like(xs, south), "the composite")
    head = transform(grid.projection, target, xs, np.full_like(xs, north), "the composite")
    left = transform(grid.projection, target, np.full_like(ys, west), ys, "the composite")
    right = transform(grid.projection, target, np.full_like(ys, east), ys, "the composite")
    return left[0].max(), right[0].min(), foot[1].max(), head[1].min()


def _tile(
    grid: MapGrid,
    target: str,
    row: int,
    column: int,
    left: float,
    foot: float,
    side: float,
    pixels: int,
    fine: int,
) -> Tile:
    count = pixels * fine
    centres = (np.arange(count) + 0.5) * side / count
    x, y = np.meshgrid(left + centres, foot + centres)
    if target != grid.projection:
        x, y = transform(target, grid.projection, x, y, "the tile")
        x = grid.x.mean() + (x - grid.x.mean() + 180) % 360 - 180
    step_y, step_x = grid.pixel
    columns = np.floor((x - grid.x[0]) / step_x + 0.5 + 1e-9).astype(np.int32)
    rows = np.floor((y - grid.y[0]) / step_y + 0.5 + 1e-9).astype(np.int32)
    outside = (columns < 0) | (columns >= len(grid.x)) | (rows < 0) | (rows >= len(grid.y))
    longitude, latitude = to_degrees(target, left, foot, "the tile")
    return Tile(
        row=row,
        column=column,
        rows=np.where(outside, -1, rows),
        columns=np.where(outside, -1, columns),
        fine=fine,
        projection=target,
        corner=(float(latitude), float(longitude)),
    )
