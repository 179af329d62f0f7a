"""Weights of the reference by the rule under which its fixtures were made."""

from collections.abc import Mapping
from math import prod
from zlib import crc32

import numpy as np


def reference_weights(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return the float32 weights of a fixture: normals seeded by the CRC-32 of PREFIX + NAME."""
    return {name: _weight(prefix + name, name, tuple(shape)) for name, shape in shapes.items()}


def _weight(seed: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    normal = np.random.RandomState(crc32(seed.encode())).standard_normal(shape)
    if name.endswith(
        ("relative_position_bias_table", "T_embed.weight", "H_embed.weight", "W_embed.weight")
    ):
        value = 0.2 * normal
    elif name.endswith("positional_embedding"):
        value = normal / shape[0] ** 0.5
    elif len(shape) >= 2:
        value = normal / prod(shape[1:]) ** 0.5
    elif name.endswith("weight"):
        value = 1 + 0.1 * normal
    else:
        value = 0.1 * normal
    return value.astype(np.float32)
