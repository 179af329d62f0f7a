"""Ratios that a change must not make worse: each operator over a plain one of the same size.

    python -m profiling ratios [--rounds 25] [--only linear,gelu] [--json FILE]

Both sides of a ratio take turns in one process, so that a slow or busy machine slows both. Lower is
better. `profiling/guard.py` compares the ratios of two commits.
"""

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Annotated, Any

import typer

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import mindspore as ms  # isort: skip
import numpy as np
from mindspore import nn, ops

from hpc.ops.activation import BiasGelu
from hpc.ops.convolution import Conv2d, Conv3d
from hpc.ops.cuboid_attention.geometry import cuboid_geometry
from hpc.ops.cuboid_attention.op import CuboidAttention
from hpc.ops.linear import Linear
from hpc.ops.normalization import GroupNorm, LayerNorm
from hpc.train.step import train_step
from profiling.timing import ratio_of

Call = Callable[[], Any]
Sides = tuple[Call, Call]
GRID = (1, 7, 16, 16)


def _random(*shape: int) -> ms.Tensor:
    return ms.Tensor(np.random.default_rng(0).standard_normal(shape, np.float32))


class _Product(nn.Cell):
    """A matrix product with a square matrix."""

    def __init__(self, width: int):
        super().__init__()
        self.matrix = ms.Parameter(_random(width, width), name="matrix")
        self.product = ops.MatMul()

    def construct(self, x):
        return self.product(x, self.matrix)


def _run(cell: nn.Cell, *inputs: ms.Tensor) -> Call:
    return lambda: cell(*inputs).asnumpy()


def _product_of(operations: float, width: int = 256) -> Call:
    rows = max(1, round(operations / (2 * width**2)))
    return _run(_Product(width), _random(rows, width))


def _copy_of(count: int, times: int = 4) -> Call:
    """Return a copy that moves `count` float32 numbers `times` times."""
    source = np.ones(count, np.float32)
    target = np.empty_like(source)

    def copy() -> None:
        for _ in range(times):
            np.copyto(target, source)

    return copy


def linear() -> Sides:
    """An affine map over its product."""
    x = _random(4096, 256)
    return _run(Linear(256, 256), x), _product_of(2 * 4096 * 256**2)


def convolution_3d() -> Sides:
    """A 3x3x3 convolution over a product of as many operations."""
    x = _random(*GRID, 64)
    return _run(Conv3d(64, 64, 3), x), _product_of(2 * 27 * prod(GRID) * 64**2)


def convolution_2d() -> Sides:
    """A 3x3 convolution over a product of as many operations."""
    x = _random(2, 64, 64, 64)
    return _run(Conv2d(64, 64, 3), x), _product_of(2 * 9 * 2 * 64**2 * 64**2)


def attention() -> Sides:
    """The cuboid operator over its reference composition."""
    geometry = cuboid_geometry(data=(7, 16, 16), cuboid_size=(7, 1, 1))
    qkv, table = _random(1, 7, 16, 16, 3, 4, 32), _random(13, 4)
    cells = [
        CuboidAttention(geometry, heads=4, width=32, backend=backend)
        for backend in ("auto", "reference")
    ]
    return _run(cells[0], qkv, table), _run(cells[1], qkv, table)


def layer_norm() -> Sides:
    """A LayerNorm over copies of its input."""
    x = _random(*GRID, 256)
    return _run(LayerNorm(256), x), _copy_of(x.size)


def group_norm() -> Sides:
    """A GroupNorm with SiLU over copies of its input."""
    x = _random(*GRID, 256)
    return _run(GroupNorm(32, 256, 1e-5, then_silu=True), x), _copy_of(x.size)


def gelu() -> Sides:
    """A bias and GELU over copies of their input."""
    x = _random(1792, 1024)
    return _run(BiasGelu(), x, _random(1024)), _copy_of(x.size)


class _Loss(nn.Cell):
    def __init__(self):
        super().__init__()
        self.layers = nn.SequentialCell(Linear(256, 256), nn.ReLU(), Linear(256, 256))

    def construct(self, x):
        return ops.square(self.layers(x)).mean()


def training_step() -> Sides:
    """A whole step of two layers, optimizer and average included, over their products."""
    loss = _Loss().set_train(True)
    parameters = dict(loss.parameters_and_names())
    step = train_step(loss, parameters, weight_decay=0.01, max_norm=1.0, ema_decay=0.9)
    x = np.ones((4096, 256), np.float32)
    return (
        lambda: step(x, learning_rate=1e-3).read(),
        _product_of(3 * 2 * 2 * 4096 * 256**2),
    )


BENCHMARKS: dict[str, Callable[[], Sides]] = {
    make.__name__: make
    for make in (
        linear,
        convolution_3d,
        convolution_2d,
        attention,
        layer_norm,
        group_norm,
        gelu,
        training_step,
    )
}


def measure(names: list[str], *, rounds: int) -> dict[str, float]:
    """Return the ratios by name."""
    ms.set_context(mode=ms.GRAPH_MODE)
    return {name: ratio_of(*BENCHMARKS[name](), rounds=rounds) for name in names}


def main(
    *,
    rounds: int = 25,
    only: Annotated[str, typer.Option(help="names, by commas")] = ",".join(BENCHMARKS),
    out: Annotated[Path | None, typer.Option("--json", help="write the ratios there")] = None,
) -> None:
    ms.set_device("CPU")
    ratios = measure(only.split(","), rounds=rounds)
    for name, ratio in ratios.items():
        print(f"{name:16} {ratio:7.3f}  {(BENCHMARKS[name].__doc__ or '').strip()}")
    if out:
        out.write_text(json.dumps(ratios))
