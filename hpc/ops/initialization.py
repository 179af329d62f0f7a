"""Starting values of parameters, as a function of (seed, parameter name).

A draw depends on nothing else, so every rank makes the same weights whatever part of the network
it holds and in whatever order it builds it.

A Cell that owns random parameters offers ``initial_values(generator_of)``: ``generator_of(name)``
returns the numpy generator of the Cell's own parameter ``name``, and the method returns a mapping
of own parameter names to float32 arrays. Parameters that it does not name keep what the
constructor gave them.
"""

from collections.abc import Callable
from zlib import crc32

import mindspore as ms
import numpy as np
from mindspore import nn

GeneratorOf = Callable[[str], np.random.Generator]

WEIGHT_RULES = ("uniform", "fan_in_normal", "zeros")


def weight_values(
    rule: str, *, shape: tuple[int, ...], fan_in: int, generator: np.random.Generator
) -> np.ndarray:
    """Return float32 starting values of a weight by one of `WEIGHT_RULES`.

    ``uniform`` is U(-1/sqrt(fan_in), 1/sqrt(fan_in)), ``fan_in_normal`` N(0, 1/fan_in).
    Source: MODEL.md section 2.8.
    """
    if rule == "zeros":
        return np.zeros(shape, np.float32)
    scale = fan_in**-0.5
    if rule == "fan_in_normal":
        return scale * generator.standard_normal(shape, dtype=np.float32)
    assert rule == "uniform", rule
    return (scale * (2 * generator.random(shape, dtype=np.float32) - 1)).astype(np.float32)


def bias_values(
    rule: str, *, shape: tuple[int, ...], fan_in: int, generator: np.random.Generator
) -> np.ndarray:
    """Return the starting bias that goes with a weight rule: uniform as the weight, or zeros."""
    if rule == "uniform":
        return weight_values(rule, shape=shape, fan_in=fan_in, generator=generator)
    return np.zeros(shape, np.float32)


def table_values(
    shape: tuple[int, ...], *, generator: np.random.Generator, std: float = 0.02
) -> np.ndarray:
    """Return a learned table's starting values, N(0, std^2) cut off at +-2."""
    return np.clip(std * generator.standard_normal(shape), -2, 2).astype(np.float32)


def initialize(cell: nn.Cell, *, seed: int) -> None:
    """Give every parameter under `cell` its starting value, in place.

    Primitive layers are built with zero weights; whoever builds a network calls this once, at the
    end of its constructor.
    """
    for prefix, child in cell.cells_and_names():
        if not hasattr(child, "initial_values"):
            continue

        def generator_of(name: str, prefix: str = prefix) -> np.random.Generator:
            path = f"{prefix}.{name}" if prefix else name
            return np.random.Generator(np.random.Philox(key=[seed, crc32(path.encode())]))

        for name, value in child.initial_values(generator_of).items():
            parameter = getattr(child, name)
            assert parameter.shape == value.shape, (prefix, name, parameter.shape, value.shape)
            parameter.set_data(ms.Tensor(value))
