"""Count the matrix products and convolutions that a network really makes, module by module.

A multiplication and its addition count as 2 operations; nothing else counts. The network runs once,
eagerly. Fused attention is replaced by its reference composition meanwhile, whose products do the
same arithmetic.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import mindspore as ms
from mindspore import nn, ops

from hpc.ops.cuboid_attention.op import CuboidAttention

KINDS = ("linear", "convolution", "attention")


@dataclass(frozen=True, kw_only=True)
class Product:
    """One matrix product or convolution of a forward pass."""

    module: str
    """Path of the Cell that holds the operator, as in ``down_levels.0.time_block.conv_1``."""
    kind: str
    """One of `KINDS`: with a matrix of weights, a convolution above 1x1, of two activations."""
    operations: float
    bytes: float
    """Of both factors and of the result."""


def count_products(network: nn.Cell, call: Callable[[], Any]) -> list[Product]:
    """Return the products that `call` makes, which runs the network forward.

    Args:
        network: names the modules.
        call: such as ``lambda: network(*inputs)``; runs in eager mode.
    """
    found: list[Product] = []
    owners = {
        id(value): name
        for name, cell in network.cells_and_names()
        for value in (*vars(cell).values(), *cell._primitives.values())
        if isinstance(value, ops.Primitive)
    }
    mode = ms.get_context("mode")
    with ExitStack() as stack:
        stack.callback(ms.set_context, mode=mode)
        ms.set_context(mode=ms.PYNATIVE_MODE)
        for _, cell in network.cells_and_names():
            if isinstance(cell, CuboidAttention):
                stack.enter_context(_replaced(cell, "fused", None))
        for primitive, measure in _MEASURES.items():
            stack.enter_context(_watched(primitive, measure, owners, found))
        call()
    return found


def _product(kind: str, result: Any, x: Any, y: Any, inner: int) -> tuple[str, float, float]:
    moved = sum(prod(t.shape) * t.itemsize for t in (x, y, result))
    return kind, 2.0 * prod(result.shape) * inner, float(moved)


def _matmul(primitive: Any, result: Any, x: Any, y: Any) -> tuple[str, float, float]:
    return _product("linear", result, x, y, x.shape[0 if primitive.transpose_a else 1])


def _batched(primitive: Any, result: Any, x: Any, y: Any) -> tuple[str, float, float]:
    return _product("attention", result, x, y, x.shape[-2 if primitive.transpose_a else -1])


def _convolution(primitive: Any, result: Any, x: Any, weight: Any) -> tuple[str, float, float]:
    return _product("convolution", result, x, weight, prod(weight.shape[1:]))


_MEASURES = {
    ops.MatMul: _matmul,
    ops.BatchMatMul: _batched,
    ops.Conv2D: _convolution,
    ops.Conv3D: _convolution,
}


@contextmanager
def _watched(
    primitive: type, measure: Callable[..., Any], owners: dict[int, str], found: list[Product]
) -> Iterator[None]:
    original = primitive.__call__

    def call(self: Any, *inputs: Any) -> Any:
        result = original(self, *inputs)
        kind, operations, moved = measure(self, result, *inputs[:2])
        module = owners.get(id(self), "")
        found.append(Product(module=module, kind=kind, operations=operations, bytes=moved))
        return result

    with _replaced(primitive, "__call__", call):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    had, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if had or not isinstance(owner, type):
            setattr(owner, name, before)
        else:
            delattr(owner, name)
