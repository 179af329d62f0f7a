"""The Ascend C kernels run on the host by the referee in ``emulator/``, as an operator.

For tests and for counting cycles: every load, store and vector instruction is checked, which is
hundreds of times slower than the native operator. Shapes: B batch; T, H, W padded grid; h heads;
D width of a head; C = h*D; L tokens of a cuboid; P padded L; K cores; R relative positions.
"""

import ctypes
import json
from functools import cache
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
from hpc.ops.cuboid_attention.plan import CORES_910B2, FLAGS, KERNEL_FOLDERS
from hpc.ops.native.library import build_library

EMULATOR = Path(__file__).parent / "emulator"


@cache
def emulator_library() -> Path:
    """Return the library of the emulated kernels. Raises LibraryUnavailable."""
    types = ("half", "bfloat", "float")
    units = ["operator", *(f"{kernel}_{t}" for kernel in ("forward", "gradient") for t in types)]
    return build_library(
        name="cuboid-attention-emulated",
        sources=[EMULATOR / f"{unit}.cpp" for unit in units],
        include=[EMULATOR, *KERNEL_FOLDERS],
        flags=FLAGS,
    )


def last_report() -> dict:
    """Return what the last emulated launch of this process counted; see docs/kernels.md."""
    library = ctypes.CDLL(str(emulator_library()))
    library.CuboidAttentionLastReport.restype = ctypes.c_char_p
    return json.loads(library.CuboidAttentionLastReport())


def emulator_settings(geometry: CuboidGeometry, *, scale: float, cores: int) -> np.ndarray:
    """Return the attributes of the operator as the emulator reads them: int32 `[11]`."""
    values = [
        *geometry.cuboid_size,
        *geometry.shift_size,
        *(kind == "d" for kind in geometry.strategy),
        cores,
    ]
    bits = np.array([scale], np.float32).view(np.int32)
    return np.concatenate([np.array(values, np.int32), bits])


class EmulatedCuboidAttention(nn.Cell):
    """``construct(qkv [B,T,H,W,3,h,D], table [R,h], dropout [B,N,h,L,L] or [1]) -> [B,T,H,W,C]``.

    qkv is float32, float16 or bfloat16; the gradient is with respect to qkv and table. Raises
    LibraryUnavailable where the library cannot be built. A kernel that breaks a rule of the
    hardware makes the framework raise; the rule is on the error stream.
    """

    runs_kernels = True

    def __init__(self, geometry: CuboidGeometry, *, scale: float, cores: int = CORES_910B2):
        super().__init__()
        self.relative = Tensor(padded_relative_positions(geometry))
        self.mask = Tensor(padded_mask(geometry))
        self.settings = Tensor(emulator_settings(geometry, scale=scale, cores=cores))
        library, table_gradient = emulator_library(), TableGradient(geometry)
        plane = (geometry.volume, padded_volume(geometry.volume))

        def gradient_shapes(qkv, *_):
            return qkv, (cores, qkv[5], *plane)

        def gradient_dtypes(qkv, table, *_):
            return qkv, table

        gradient = ops.Custom(
            f"{library}:CuboidAttentionEmulatedGrad", gradient_shapes, gradient_dtypes, "aot"
        )

        def bprop(qkv, table, relative, mask, dropout, settings, out, dout):
            dqkv, partial = gradient(qkv, table, relative, mask, dropout, settings, dout)
            zeros = ops.zeros_like
            return (
                dqkv,
                table_gradient(partial),
                zeros(relative),
                zeros(mask),
                zeros(dropout),
                zeros(settings),
            )

        self.forward_operator = ops.Custom(
            f"{library}:CuboidAttentionEmulated", _output_shape, _first_dtype, "aot", bprop=bprop
        )

    def construct(self, qkv: Tensor, table: Tensor, dropout: Tensor) -> Tensor:
        table, dropout = table.astype(ms.float32), dropout.astype(ms.float32)
        return self.forward_operator(qkv, table, self.relative, self.mask, dropout, self.settings)


def _output_shape(qkv, *_):
    return [*qkv[:4], qkv[5] * qkv[6]]


def _first_dtype(first, *_):
    return first
