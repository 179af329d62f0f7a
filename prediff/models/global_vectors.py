"""Global vectors: a few tokens that see the whole grid and that every cuboid sees.

Shapes: B batch; T, H, W padded grid; h heads; D width of a head; C = h*D; G global vectors.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from hpc.ops.cuboid_attention.geometry import CuboidGeometry
from hpc.ops.cuboid_attention.reference import MASKED_SCORE
from hpc.ops.dropout import KeyedDropout
from hpc.ops.linear import Linear
from hpc.ops.normalization import LayerNorm


class GlobalVectorAttention(nn.Cell):
    """The global side of a cuboid layer: ``construct(qkv, vectors, key) -> (k, v, new vectors)``.

    qkv `[B,T,H,W,3,h,D]` are the tokens, vectors `[B,G,C]`. The keys and values `[B,h,G,D]` of the
    normalised vectors are for the cuboids to see; the new vectors `[B,G,C]` are what the vectors
    gather from all tokens and from each other. No residual inside. Padding that is to be ignored
    is not seen.

    Source: Gao et al. 2022 (Earthformer), equations 5 to 7.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        scale: float,
        use_final_proj: bool,
        attn_drop: float,
        proj_drop: float,
        compute_dtype: mstype.Type,
    ):
        super().__init__()
        self.num_heads, self.width, self.scale = num_heads, dim // num_heads, scale
        self.use_final_proj, self.compute_dtype = use_final_proj, compute_dtype
        self.norm = LayerNorm(dim)
        self.qkv = Linear(dim, 3 * dim, has_bias=False)
        if use_final_proj:
            self.projection = Linear(dim, dim, initial="zeros")
        self.attention_dropout = KeyedDropout(attn_drop)
        self.projection_dropout = KeyedDropout(proj_drop)
        self.scores_of = ops.BatchMatMul(transpose_b=True)
        self.values_of = ops.BatchMatMul()
        self.hidden_score = 0.0

    def fit_grid(self, geometry: CuboidGeometry) -> None:
        """Prepare for a grid."""
        if geometry.padding == "ignore" and any(geometry.margins):
            hidden = np.where(geometry.real_cells.reshape(-1), 0, MASKED_SCORE)
            self.hidden_score = Tensor(hidden.astype(np.float32))
        else:
            self.hidden_score = 0.0

    def construct(self, qkv, vectors, dropout_key=None):
        batch, count, dim = vectors.shape
        heads, width = self.num_heads, self.width
        tokens = qkv.reshape(batch, -1, 3, heads, width).transpose(2, 0, 3, 1, 4)
        own = self.qkv(self.norm(vectors).astype(self.compute_dtype))
        own = own.reshape(batch, count, 3, heads, width).transpose(2, 0, 3, 1, 4)
        q = own[0] * self.scale
        to_tokens = self.scores_of(q, tokens[1]).astype(ms.float32) + self.hidden_score
        to_vectors = self.scores_of(q, own[1]).astype(ms.float32)
        weights = ops.softmax(ops.concat((to_tokens, to_vectors), -1), -1)
        factor = self.attention_dropout.factor(dropout_key, weights.shape[1:])
        if factor is not None:
            weights = weights * factor
        values = ops.concat((tokens[2], own[2]), 2)
        new = self.values_of(weights.astype(values.dtype), values)
        new = new.transpose(0, 2, 1, 3).reshape(batch, count, dim)
        if self.use_final_proj:
            new = self.projection_dropout(self.projection(new), dropout_key)
        return own[1], own[2], new
