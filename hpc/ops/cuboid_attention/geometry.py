"""Which cell of the grid is which token of which cuboid: plain numpy, no tensors.

Shapes: T, H, W grid axes; N cuboids; L tokens of a cuboid (its volume); R relative positions.

Source: Gao et al. 2022 (Earthformer), section 3.1; MODEL.md section 2.5. A cuboid layer rolls the
grid by -shift, cuts it into equal cuboids and attends within each. On every axis the cut is
``"l"`` local (neighbouring cells together) or ``"d"`` dilated (every n-th cell together).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpc.errors import UserError

Axes = tuple[int, int, int]
PADDINGS = ("zeros", "ignore", "nearest")


@dataclass(frozen=True)
class CuboidGeometry:
    """How one cuboid-attention layer cuts one grid; everything a backend needs to know.

    Attributes:
        grid: padded (T, H, W), a multiple of `cuboid_size` on every axis.
        data: (T, H, W) before padding.
        cuboid_size: cuboid in use, at most the data on every axis.
        shift_size: roll in use, 0 where the cuboid spans the axis or the axis is dilated.
        strategy: ``"l"`` or ``"d"`` for each axis.
        padding: one of `PADDINGS`.
        built_size: cuboid for which the layer was constructed; it sizes the bias table.
    """

    grid: Axes
    data: Axes
    cuboid_size: Axes
    shift_size: Axes
    strategy: tuple[str, str, str]
    padding: str
    built_size: Axes

    @property
    def volume(self) -> int:
        """L, the number of tokens of a cuboid."""
        return int(np.prod(self.cuboid_size))

    @property
    def cuboids(self) -> int:
        """N, the number of cuboids of a grid."""
        return int(np.prod(self.grid)) // self.volume

    @property
    def margins(self) -> Axes:
        """Cells added at the end of T, H and W."""
        return tuple(g - d for g, d in zip(self.grid, self.data, strict=True))

    @cached_property
    def tokens(self) -> np.ndarray:
        """Flat cell of the padded, unrolled grid that each token is: `[N, L]` int32."""
        cells = np.arange(np.prod(self.grid), dtype=np.int32).reshape(self.grid)
        return self._cut(self._rolled(cells))

    @cached_property
    def relative_positions(self) -> np.ndarray:
        """Row of the bias table for each (query, key): `[L, L]` int32."""
        return relative_position_index(self.built_size)[: self.volume, : self.volume]

    @cached_property
    def mask(self) -> np.ndarray | None:
        """`[N, L, L]` bool, True where a query may see a key, or None where it always may."""
        region = np.zeros(self.grid, np.int32)
        for axis, labels in enumerate(map(_regions, self.grid, self.cuboid_size, self.shift_size)):
            region = 3 * region + np.expand_dims(labels, [a for a in range(3) if a != axis])
        region = self._cut(region)
        visible = region[:, :, None] == region[:, None, :]
        if self.padding == "ignore":
            real = self._cut(self._rolled(self.real_cells))
            visible &= real[:, :, None] & real[:, None, :]
        return None if visible.all() else visible

    @property
    def real_cells(self) -> np.ndarray:
        """`[T, H, W]` bool of the padded grid, False on padding."""
        real = np.zeros(self.grid, bool)
        real[tuple(slice(size) for size in self.data)] = True
        return real

    @cached_property
    def factors(self) -> tuple[tuple[int, bool], ...]:
        """The grid's axes split into (size, is_offset), in memory order.

        An offset factor counts cells within a cuboid, the others count cuboids. Factors of size 1
        are left out and neighbours of one kind are joined, so that the axial cut of a whole axis
        has at most three factors.
        """
        split: list[tuple[int, bool]] = []
        for size, block, kind in zip(self.grid, self.cuboid_size, self.strategy, strict=True):
            pair = [(size // block, False), (block, True)]
            for factor, offset in pair if kind == "l" else pair[::-1]:
                if split and (factor == 1 or split[-1][1] == offset):
                    split[-1] = (split[-1][0] * factor, split[-1][1])
                elif factor > 1:
                    split.append((factor, offset))
        return tuple(split) or ((1, True),)

    def _rolled(self, cells: np.ndarray) -> np.ndarray:
        return np.roll(cells, [-s for s in self.shift_size], (0, 1, 2))

    def _cut(self, cells: np.ndarray) -> np.ndarray:
        """Return `[N, L]` of a `[T, H, W]` array: cuboids and tokens both in row-major order."""
        shape, blocks, offsets = [], [], []
        for axis, (size, block) in enumerate(zip(self.grid, self.cuboid_size, strict=True)):
            local = self.strategy[axis] == "l"
            shape += [size // block, block] if local else [block, size // block]
            blocks.append(2 * axis + (not local))
            offsets.append(2 * axis + local)
        return cells.reshape(shape).transpose(blocks + offsets).reshape(-1, self.volume)


def cuboid_geometry(
    *,
    data: Axes,
    cuboid_size: Axes,
    shift_size: Axes = (0, 0, 0),
    strategy: tuple[str, str, str] = ("l", "l", "l"),
    padding: str = "zeros",
) -> CuboidGeometry:
    """Return how a layer built for `cuboid_size` cuts a grid of `data` cells.

    An axis no longer than its cuboid is taken whole, without a shift; a dilated axis is never
    shifted. Where the cuboid does not divide an axis, the axis is padded at its end.

    Raises:
        UserError: sizes below 1, a negative shift, or an unknown strategy or padding.
    """
    check_cuboid(cuboid_size=cuboid_size, shift_size=shift_size, strategy=strategy, padding=padding)
    if len(data) != 3 or min(data) < 1:
        raise UserError(f"cuboid attention: grid {data} must be three positive sizes (T, H, W)")
    whole = [d <= b for d, b in zip(data, cuboid_size, strict=True)]
    size = tuple(d if w else b for d, b, w in zip(data, cuboid_size, whole, strict=True))
    shift = tuple(
        0 if w or kind == "d" else s for s, w, kind in zip(shift_size, whole, strategy, strict=True)
    )
    grid = tuple(-(-d // b) * b for d, b in zip(data, size, strict=True))
    return CuboidGeometry(
        grid=grid,
        data=tuple(data),
        cuboid_size=size,
        shift_size=shift,
        strategy=tuple(strategy),
        padding=padding,
        built_size=tuple(cuboid_size),
    )


def check_cuboid(
    *, cuboid_size: Axes, shift_size: Axes, strategy: tuple[str, str, str], padding: str
) -> None:
    """Raise UserError where these cannot describe a cuboid layer on any grid."""
    if len(cuboid_size) != 3 or min(cuboid_size) < 1:
        raise UserError(f"cuboid_size {cuboid_size} must be three positive sizes (T, H, W)")
    if len(shift_size) != 3 or min(shift_size) < 0:
        raise UserError(f"shift_size {shift_size} must be three sizes (T, H, W), 0 or more")
    if len(strategy) != 3 or any(kind not in ("l", "d") for kind in strategy):
        raise UserError(f"strategy {strategy} must be three of 'l' (local) and 'd' (dilated)")
    if padding not in PADDINGS:
        raise UserError(f"padding {padding!r} is unknown: choose one of {', '.join(PADDINGS)}")


def relative_position_index(cuboid_size: Axes) -> np.ndarray:
    """Return the bias-table row of every (query, key) of a cuboid: `[L, L]` int32.

    The table has ``(2bT-1)(2bH-1)(2bW-1)`` rows, the difference in W the fastest.
    """
    positions = np.indices(cuboid_size).reshape(3, -1)
    index = np.zeros((positions.shape[1],) * 2, np.int32)
    for position, size in zip(positions, cuboid_size, strict=True):
        index = index * (2 * size - 1) + position[:, None] - position[None, :] + size - 1
    return index.astype(np.int32)


def relative_position_count(cuboid_size: Axes) -> int:
    """Return R, the number of rows of a cuboid's bias table."""
    return int(np.prod([2 * size - 1 for size in cuboid_size]))


def nearest_source(size: int, new_size: int) -> np.ndarray:
    """Return the source index of each cell of an axis resized by nearest neighbour, int32.

    The index is floor(i * size / new_size) in float32 arithmetic, as the reference computes it.
    """
    scaled = np.arange(new_size, dtype=np.float32) * np.float32(size / new_size)
    return np.minimum(np.floor(scaled).astype(np.int32), size - 1)


def _regions(size: int, block: int, shift: int) -> np.ndarray:
    """Return the label, 0 to 2, of each cell of a rolled axis; cells of two labels never meet.

    The slices [:-block], [-block:-shift] and [-shift:] are painted in this order; without a shift
    the last one is the whole axis.
    """
    labels = np.zeros(size, np.int32)
    if shift == 0:
        return labels
    labels[-block:-shift] = 1
    labels[-shift:] = 2
    return labels
