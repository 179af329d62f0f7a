"""Geometries and random operands that the tests of every backend share."""

from dataclasses import dataclass

import numpy as np

from hpc.ops.cuboid_attention.geometry import CuboidGeometry, relative_position_count

GEOMETRIES = {
    "axial in time": {"data": (13, 2, 3), "cuboid_size": (13, 1, 1)},
    "axial in height": {"data": (3, 16, 2), "cuboid_size": (1, 16, 1)},
    "axial in width": {"data": (2, 3, 8), "cuboid_size": (1, 1, 8)},
    "local cuboids": {"data": (4, 4, 8), "cuboid_size": (2, 4, 4)},
    "the largest volume": {"data": (4, 4, 8), "cuboid_size": (4, 4, 4)},
    "dilated": {"data": (4, 4, 6), "cuboid_size": (2, 2, 3), "strategy": ("l", "d", "d")},
    "shifted windows": {"data": (4, 8, 8), "cuboid_size": (2, 4, 4), "shift_size": (1, 2, 2)},
    "shifted windows, padding ignored": {
        "data": (3, 5, 6),
        "cuboid_size": (2, 4, 4),
        "shift_size": (1, 2, 1),
        "padding": "ignore",
    },
    "a cuboid larger than the data": {"data": (3, 4, 2), "cuboid_size": (4, 2, 3)},
    "single cells": {"data": (2, 2, 2), "cuboid_size": (1, 1, 1)},
}


@dataclass(frozen=True)
class Call:
    qkv: np.ndarray
    table: np.ndarray
    dropout: np.ndarray | None
    dout: np.ndarray


def random_call(
    geometry: CuboidGeometry, batch: int, heads: int, width: int, dtype, with_dropout: bool
) -> Call:
    """Return normal operands; a fifth of the probabilities is dropped."""
    rng = np.random.default_rng(geometry.volume + 100 * width + batch)
    shape = (batch, geometry.cuboids, heads, geometry.volume, geometry.volume)
    kept = (rng.random(shape) < 0.8).astype(np.float32) / np.float32(0.8)
    return Call(
        qkv=rng.normal(size=(batch, *geometry.grid, 3, heads, width)).astype(dtype),
        table=rng.normal(size=(relative_position_count(geometry.built_size), heads)).astype(
            np.float32
        ),
        dropout=kept if with_dropout else None,
        dout=rng.normal(size=(batch, *geometry.grid, heads * width)).astype(dtype),
    )
