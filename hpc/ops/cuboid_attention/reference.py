"""Cuboid attention in plain framework operations: the meaning of every other backend.

Shapes: B batch; T, H, W padded grid; h heads; D width of a head; C = h*D; N cuboids; L tokens of a
cuboid; R relative positions; G global vectors.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hpc.ops.cuboid_attention.geometry import CuboidGeometry

MASKED_SCORE = -1e18
LARGEST_RANK = 8


class ReferenceCuboidAttention(nn.Cell):
    """Attention within the cuboids of a grid: ``construct(qkv, table) -> [B,T,H,W,C]``.

    qkv `[B,T,H,W,3,h,D]` is the projected, padded, unrolled grid; its order is q, k, v. Table
    `[R,h]` holds the relative-position bias, or is None. Scores, softmax and mask are float32, the
    products have the dtype of qkv. A query that sees no key gives 0.

    The optional arguments: dropout `[B,N,h,L,L+G]` multiplies the probabilities (0 or 1/(1-p));
    global_keys and global_values `[B,h,G,D]` are seen by every query of every cuboid.

    Args:
        geometry: how the grid is cut.
        scale: factor of q, D**-0.5 as a rule.

    Source: Gao et al. 2022 (Earthformer), equations 2 to 4; MODEL.md section 2.5.
    """

    def __init__(self, geometry: CuboidGeometry, *, scale: float):
        super().__init__()
        self.shift_size, self.scale = geometry.shift_size, scale
        self.grid, self.volume, self.cuboids = geometry.grid, geometry.volume, geometry.cuboids
        self.relative = Tensor(geometry.relative_positions.reshape(-1))
        self.has_mask = geometry.mask is not None
        if self.has_mask:
            visible = geometry.mask[:, None]
            self.visible = Tensor(visible.astype(np.float32))
            self.hidden_score = Tensor(np.where(visible, 0, MASKED_SCORE).astype(np.float32))
        self._plan_permutations(geometry.factors)
        self.scores_of = ops.BatchMatMul(transpose_b=True)
        self.values_of = ops.BatchMatMul()
        self.join = ops.Concat(-1)
        self.join_rows = ops.Concat(-2)

    def _plan_permutations(self, factors: tuple[tuple[int, bool], ...]) -> None:
        """Set the axis orders between the grid's factors and [.., N, h, L, D].

        Where the framework can permute so many axes, q, k and v go to [3, B, N.., h, L.., D] at
        once; else tokens are sorted first and heads afterwards.
        """
        self.sizes = tuple(size for size, _ in factors)
        blocks = [1 + i for i, (_, offset) in enumerate(factors) if not offset]
        offsets = [1 + i for i, (_, offset) in enumerate(factors) if offset]
        self.block_sizes = tuple(self.sizes[i - 1] for i in blocks)
        self.offset_sizes = tuple(self.sizes[i - 1] for i in offsets)
        end = 1 + len(factors)
        self.at_once = end + 3 <= LARGEST_RANK
        if self.at_once:
            self.gather_order = (end, 0, *blocks, end + 1, *offsets, end + 2)
            cut = [0, *blocks, -1, *offsets]
        else:
            self.gather_order = (0, *blocks, *offsets, end)
            cut = [0, *blocks, *offsets]
        heads = (cut.index(-1),) if self.at_once else ()
        places = [cut.index(axis) for axis in range(end)]
        self.scatter_order = (*places, *heads, len(cut))

    def construct(self, qkv, table, dropout=None, global_keys=None, global_values=None):
        batch, heads, width = qkv.shape[0], qkv.shape[5], qkv.shape[6]
        q, k, v = self._tokens(self._roll(qkv, 1), batch, heads, width)
        q = q * self.scale
        scores = self.scores_of(q, k).astype(ms.float32)  # [B, N, h, L, L]
        if table is not None:
            bias = ops.gather(table, self.relative, 0).reshape(self.volume, self.volume, heads)
            scores = scores + bias.astype(ms.float32).transpose(2, 0, 1)
        if self.has_mask:
            scores = scores * self.visible + self.hidden_score
        if global_keys is None:
            weights = ops.softmax(scores, -1)
            if self.has_mask:
                weights = weights * self.visible
        else:
            globals_shape = (batch, self.cuboids, heads, global_keys.shape[2], width)
            keys = ops.broadcast_to(global_keys.expand_dims(1), globals_shape)
            to_globals = self.scores_of(q, keys).astype(ms.float32)
            weights = ops.softmax(self.join((scores, to_globals)), -1)
            if self.has_mask:
                local = weights[..., : self.volume] * self.visible
                weights = self.join((local, weights[..., self.volume :]))
            values = ops.broadcast_to(global_values.expand_dims(1), globals_shape)
            v = self.join_rows((v, values))
        if dropout is not None:
            weights = weights * dropout
        out = self.values_of(weights.astype(v.dtype), v)
        return self._roll(self._grid(out, batch, heads, width), -1)

    def _tokens(self, qkv, batch, heads, width):
        """Return q, k, v `[B,N,h,L,D]` of the rolled grid."""
        if self.at_once:
            qkv = qkv.reshape(batch, *self.sizes, 3, heads, width).transpose(self.gather_order)
        else:
            qkv = qkv.reshape(batch, *self.sizes, -1).transpose(self.gather_order)
            qkv = qkv.reshape(batch, self.cuboids, self.volume, 3, heads, width)
            qkv = qkv.transpose(3, 0, 1, 4, 2, 5)
        qkv = qkv.reshape(3, batch, self.cuboids, heads, self.volume, width)
        q, k, v = ops.split(qkv, 1)
        shape = (batch, self.cuboids, heads, self.volume, width)
        return q.reshape(shape), k.reshape(shape), v.reshape(shape)

    def _grid(self, out, batch, heads, width):
        """Return the rolled grid `[B,T,H,W,C]` of tokens `[B,N,h,L,D]`."""
        if self.at_once:
            out = out.reshape(batch, *self.block_sizes, heads, *self.offset_sizes, width)
        else:
            out = out.transpose(0, 1, 3, 2, 4)
            out = out.reshape(batch, *self.block_sizes, *self.offset_sizes, heads * width)
        return out.transpose(self.scatter_order).reshape(batch, *self.grid, heads * width)

    def _roll(self, x, direction):
        """Roll T, H and W by the shift, towards the start (1) or back (-1)."""
        for axis in range(3):
            if self.shift_size[axis]:
                cut = self.shift_size[axis] * direction % self.grid[axis]
                head, tail = ops.split(x, (cut, self.grid[axis] - cut), axis + 1)
                x = ops.concat((tail, head), axis + 1)
        return x
