"""What the Ascend C kernels take beside qkv and table, and what their gradient leaves to do.

Shapes: h heads; L tokens of a cuboid; P its padding to 8, 16, 32 or 64; N cuboids; R relative
positions; K cores.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hpc.ops.cuboid_attention.geometry import CuboidGeometry, relative_position_count


def padded_volume(volume: int) -> int:
    """Return P: rows of scores must fill a vector repeat of 64 floats evenly."""
    return max(8, 1 << (volume - 1).bit_length())


def padded_relative_positions(geometry: CuboidGeometry) -> np.ndarray:
    """Return `[L, P]` int32; the padding points at row 0 and is hidden by the kernel."""
    padding = padded_volume(geometry.volume) - geometry.volume
    return np.pad(geometry.relative_positions, ((0, 0), (0, padding)))


def padded_mask(geometry: CuboidGeometry) -> np.ndarray:
    """Return `[N, L, P]` float32 of 0 and 1, or one zero where every query sees every key."""
    if geometry.mask is None:
        return np.zeros(1, np.float32)
    padding = padded_volume(geometry.volume) - geometry.volume
    return np.pad(geometry.mask.astype(np.float32), ((0, 0), (0, 0), (0, padding)))


class TableGradient(nn.Cell):
    """Sum the cores' gradients of the scores into the bias table: `[K,h,L,P]` -> `[R,h]`.

    The sum over equal relative positions is a product with a constant matrix of 0 and 1: its order
    is fixed, and no two cores ever add to one number.
    """

    def __init__(self, geometry: CuboidGeometry):
        super().__init__()
        rows = relative_position_count(geometry.built_size)
        padding = padded_volume(geometry.volume) - geometry.volume
        members = np.eye(rows, dtype=np.float32)[geometry.relative_positions]
        members = np.pad(members, ((0, 0), (0, padding), (0, 0))).reshape(-1, rows)
        self.members = Tensor(members)  # [L*P, R]
        self.product = ops.MatMul(transpose_a=True, transpose_b=True)

    def construct(self, partial: Tensor) -> Tensor:
        scores = partial.sum(0).reshape(partial.shape[1], -1).astype(ms.float32)
        return self.product(self.members, scores)
