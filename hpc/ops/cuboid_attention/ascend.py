"""The cuboid-attention operator of an Ascend device. Not yet run on silicon.

Shapes: B batch; T, H, W padded grid; h heads; D width of a head; C = h*D; L tokens of a cuboid;
P padded L; K cores; R relative positions.
"""

import os
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hpc.ops.cuboid_attention.geometry import CuboidGeometry
from hpc.ops.cuboid_attention.kernel_operands import (
    TableGradient,
    padded_mask,
    padded_relative_positions,
    padded_volume,
)

MOST_VECTOR_CORES = 50  # of any 910B: each adds up a slice, see op_host


def operator_installed() -> bool:
    """Return whether ``build_ascend.sh`` has installed the operator for this process."""
    folders = os.environ.get("ASCEND_CUSTOM_OPP_PATH", "").split(":")
    return any(
        next(Path(folder).rglob("aclnn_cuboid_attention.h"), None) for folder in folders if folder
    )


class AscendCuboidAttention(nn.Cell):
    """``construct(qkv [B,T,H,W,3,h,D], table [R,h], dropout [B,N,h,L,L] or [1]) -> [B,T,H,W,C]``.

    The operator that ``build_ascend.sh`` installs, on the operands of `kernel_operands`; the
    geometry travels as attributes. qkv is float16, bfloat16 or float32.
    """

    runs_kernels = True
    """Those of ``op_kernel/``: their plan must fit, and they take bfloat16."""

    def __init__(self, geometry: CuboidGeometry, *, scale: float):
        super().__init__()
        self.relative = Tensor(padded_relative_positions(geometry))
        self.mask = Tensor(padded_mask(geometry))
        self.cuboid = geometry.cuboid_size
        self.shift = geometry.shift_size
        self.dilated = tuple(int(kind == "d") for kind in geometry.strategy)
        self.scale = float(np.float32(scale))
        table_gradient = TableGradient(geometry)
        plane = (geometry.volume, padded_volume(geometry.volume))

        def gradient_shapes(qkv, *_):
            return qkv, (MOST_VECTOR_CORES, qkv[5], *plane)

        def gradient_dtypes(qkv, table, *_):
            return qkv, table

        gradient = ops.Custom("CuboidAttentionGrad", gradient_shapes, gradient_dtypes, "aot")

        def bprop(qkv, table, relative, mask, dropout, cuboid, shift, dilated, scale, out, dout):
            dqkv, partial = gradient(
                qkv, table, relative, mask, dropout, dout, cuboid, shift, dilated, scale
            )
            zeros = ops.zeros_like
            nothing = (0, 0, 0)
            return (
                dqkv,
                table_gradient(partial),
                zeros(relative),
                zeros(mask),
                zeros(dropout),
                nothing,
                nothing,
                nothing,
                0.0,
            )

        self.forward_operator = ops.Custom(
            "CuboidAttention", _output_shape, _first_dtype, "aot", bprop=bprop
        )

    def construct(self, qkv: Tensor, table: Tensor, dropout: Tensor) -> Tensor:
        return self.forward_operator(
            qkv,
            table.astype(ms.float32),
            self.relative,
            self.mask,
            dropout.astype(ms.float32),
            self.cuboid,
            self.shift,
            self.dilated,
            self.scale,
        )


def _output_shape(qkv, *_):
    return [*qkv[:4], qkv[5] * qkv[6]]


def _first_dtype(first, *_):
    return first
