"""Cuboid attention on CPU hosts: the operator of ``cpu/`` with its gradient.

Shapes: B batch; T, H, W padded grid; h heads; D width of a head; C = h*D; N cuboids; L tokens of a
cuboid; R relative positions.
"""

from functools import cache
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hpc.ops.cuboid_attention.geometry import CuboidGeometry
from hpc.ops.native.library import CPU_SOURCES, build_library

SOURCES = Path(__file__).parent / "cpu"


@cache
def native_library() -> Path:
    """Return the library of the CPU operator. Raises LibraryUnavailable."""
    return build_library(
        name="cuboid-attention",
        sources=[SOURCES / "cuboid_attention.cpp"],
        include=[SOURCES, CPU_SOURCES],
    )


def _output_shape(qkv, *_):
    return [*qkv[:4], qkv[5] * qkv[6]]


def _first_dtype(first, *_):
    return first


def _first_two(first, second, *_):
    return first, second


class NativeCuboidAttention(nn.Cell):
    """``construct(qkv [B,T,H,W,3,h,D], table [R,h], dropout [B,N,h,L,L] or [1]) -> [B,T,H,W,C]``.

    qkv is float32 or float16; everything else is float32, and sums are float32. The gradient is
    with respect to qkv and table. Raises LibraryUnavailable where the library cannot be built.
    """

    runs_kernels = False

    def __init__(self, geometry: CuboidGeometry, *, scale: float):
        super().__init__()
        self.tokens = Tensor(geometry.tokens)
        self.relative = Tensor(np.ascontiguousarray(geometry.relative_positions))
        mask = np.zeros(1) if geometry.mask is None else geometry.mask
        self.mask = Tensor(mask.astype(np.float32))
        self.scale = Tensor(np.array([scale], np.float32))
        library = native_library()
        gradient = ops.Custom(f"{library}:CuboidAttentionGrad", _first_two, _first_two, "aot")

        def bprop(qkv, table, tokens, relative, mask, dropout, scale, out, dout):
            dqkv, dtable = gradient(qkv, table, tokens, relative, mask, dropout, scale, dout)
            zeros = ops.zeros_like
            return (
                dqkv,
                dtable,
                zeros(tokens),
                zeros(relative),
                zeros(mask),
                zeros(dropout),
                zeros(scale),
            )

        self.forward_operator = ops.Custom(
            f"{library}:CuboidAttention", _output_shape, _first_dtype, "aot", bprop=bprop
        )

    def construct(self, qkv: Tensor, table: Tensor, dropout: Tensor) -> Tensor:
        return self.forward_operator(
            qkv,
            table.astype(ms.float32),
            self.tokens,
            self.relative,
            self.mask,
            dropout.astype(ms.float32),
            self.scale,
        )
