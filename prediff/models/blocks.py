"""The layers between which the residual stream of the denoiser runs.

Shapes: B batch; T, H, W grid; C channel; E width of the time vector. The stream is float32; a
layer with another `compute_dtype` does only its products and convolutions in it.

Reference names: ``in_layers.{0,2}`` -> `norm_1`, `conv_1`; ``emb_layers.1`` -> `time_projection`;
``out_layers.{0,3}`` -> `norm_2`, `conv_2`; ``skip_connection`` -> `skip`; ``attn_l`` ->
`attentions`; ``ffn_l`` -> `feed_forwards`; ``ffn_1``, ``ffn_2``, ``layer_norm`` -> `linear_1`,
`linear_2`, `norm`.
"""

import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from hpc.errors import UserError
from hpc.ops.activation import BiasGelu, silu
from hpc.ops.bias import AddBias
from hpc.ops.convolution import Conv2d, Conv3d
from hpc.ops.cuboid_attention.geometry import Axes, nearest_source
from hpc.ops.dropout import KeyedDropout
from hpc.ops.linear import Linear
from hpc.ops.normalization import GroupNorm, LayerNorm
from hpc.ops.padding import pad_with_zeros
from prediff.models.cuboid import CuboidSelfAttention, attention_pattern

GROUPS = 32


def norm_groups(channels: int) -> int:
    """Return the number of groups of a block's GroupNorm: 32 where it divides, else one each."""
    return GROUPS if channels % GROUPS == 0 else channels


class ResidualBlock(nn.Cell):
    """Two 3x3x3 convolutions and a skip: `[B,T,H,W,C] -> [B,T,H,W,C']`; with E, a time block.

    Args:
        in_channels: C.
        out_channels: C'.
        embedding_dim: E of a block that adds the time vector `[B,E]` between its convolutions.
        dropout: before the second convolution.
        compute_dtype: dtype of the convolutions.

    Source: MODEL.md section 2.3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        embedding_dim: int | None = None,
        dropout: float = 0.0,
        compute_dtype: mstype.Type = mstype.float32,
    ):
        super().__init__()
        self.compute_dtype = compute_dtype
        self.out_channels = out_channels
        self.norm_1 = GroupNorm(norm_groups(in_channels), in_channels, 1e-5, then_silu=True)
        self.conv_1 = Conv3d(in_channels, out_channels, 3)
        self.has_embedding = embedding_dim is not None
        if embedding_dim is not None:
            self.time_projection = Linear(embedding_dim, out_channels)
            self.add_time = AddBias()
        self.norm_2 = GroupNorm(norm_groups(out_channels), out_channels, 1e-5, then_silu=True)
        self.dropout = KeyedDropout(dropout)
        self.conv_2 = Conv3d(out_channels, out_channels, 3, initial="zeros")
        self.has_skip = in_channels != out_channels
        if self.has_skip:
            self.skip = Conv3d(in_channels, out_channels, 1)

    def construct(self, x, embedding=None, dropout_key=None):
        a = self.conv_1(self.norm_1(x).astype(self.compute_dtype))
        if self.has_embedding:
            a = self.add_time(a.astype(ms.float32), self.time_projection(silu(embedding)))
        a = self.dropout(self.norm_2(a), dropout_key)
        a = self.conv_2(a.astype(self.compute_dtype)).astype(ms.float32)
        if self.has_skip:
            x = self.skip(x.astype(self.compute_dtype)).astype(ms.float32)
        return x + a


class FeedForward(nn.Cell):
    """``h + Drop(Linear(Drop(GELU(Linear(LN(h))))))``: `[..., C] -> [..., C]`.

    Args:
        dim: C.
        dropout: of both drops.
        hidden_ratio: inner width over C.
        compute_dtype: dtype of the products and the GELU.

    Source: MODEL.md section 2.4.
    """

    def __init__(
        self,
        dim: int,
        *,
        dropout: float = 0.0,
        hidden_ratio: int = 4,
        compute_dtype: mstype.Type = mstype.float32,
    ):
        super().__init__()
        self.compute_dtype = compute_dtype
        self.norm = LayerNorm(dim)
        self.linear_1 = Linear(dim, hidden_ratio * dim)
        self.activation = BiasGelu()
        self.inner_dropout = KeyedDropout(dropout)
        self.linear_2 = Linear(hidden_ratio * dim, dim, initial="zeros")
        self.outer_dropout = KeyedDropout(dropout)

    def construct(self, h, dropout_key=None):
        y = self.linear_1.without_bias(self.norm(h).astype(self.compute_dtype))
        y = self.activation(y, self.linear_1.bias)
        y = self.linear_2(self.inner_dropout(y, dropout_key))
        return h + self.outer_dropout(y, dropout_key).astype(ms.float32)


class AttentionStack(nn.Cell):
    """The sub-layers of an attention pattern, each attention + residual, then feed-forward.

    ``construct(h [B,T,H,W,C], dropout_key) -> h``; with global vectors,
    ``construct(h, dropout_key, vectors [B,G,C]) -> (h, vectors)``.

    Args:
        dim: C.
        num_heads: heads of every attention.
        grid: (T, H, W).
        pattern: name for `attention_pattern`.
        padding: of the cuboids.
        attention_dropout: of the attention weights.
        projection_dropout: of the attention's output.
        feed_forward_dropout: of both drops of the feed-forward layers.
        use_global_vectors: carry global vectors along, with feed-forward layers of their own.
        compute_dtype: dtype of the products.
        backend: of the attention, see `hpc.ops.cuboid_attention.op`.

    Source: MODEL.md section 2.4; Gao et al. 2022, figure 2.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        grid: Axes,
        pattern: str = "axial",
        padding: str = "zeros",
        attention_dropout: float = 0.0,
        projection_dropout: float = 0.0,
        feed_forward_dropout: float = 0.0,
        use_global_vectors: bool = False,
        compute_dtype: mstype.Type = mstype.float32,
        backend: str = "auto",
    ):
        super().__init__()
        sub_layers = attention_pattern(pattern, grid)
        self.attentions = nn.CellList(
            [
                CuboidSelfAttention(
                    dim=dim,
                    num_heads=num_heads,
                    cuboid_size=size,
                    strategy=strategy,
                    shift_size=shift,
                    padding=padding,
                    attn_drop=attention_dropout,
                    proj_drop=projection_dropout,
                    use_global_vector=use_global_vectors,
                    grid=grid,
                    compute_dtype=compute_dtype,
                    backend=backend,
                    seed=None,
                )
                for size, strategy, shift in zip(*sub_layers, strict=True)
            ]
        )

        def feed_forwards() -> nn.CellList:
            return nn.CellList(
                [
                    FeedForward(dim, dropout=feed_forward_dropout, compute_dtype=compute_dtype)
                    for _ in self.attentions
                ]
            )

        self.feed_forwards = feed_forwards()
        self.use_global_vectors = use_global_vectors
        if use_global_vectors:
            self.global_feed_forwards = feed_forwards()
        self.depth = len(self.attentions)

    def construct(self, h, dropout_key=None, vectors=None):
        for k in range(self.depth):
            if self.use_global_vectors:
                y, new_vectors = self.attentions[k](h, dropout_key, vectors)
                vectors = vectors + new_vectors.astype(ms.float32)
                vectors = self.global_feed_forwards[k](vectors, dropout_key)
            else:
                y = self.attentions[k](h, dropout_key)
            h = self.feed_forwards[k](h + y.astype(ms.float32), dropout_key)
        return (h, vectors) if self.use_global_vectors else h


class PatchMerging(nn.Cell):
    """Join 2x2 cells into one: `[B,T,H,W,C] -> [B,T,ceil(H/2),ceil(W/2),C']`.

    Odd sizes get a row or column of zeros at the end. Features are ordered (dh, dw, c).
    Source: MODEL.md section 2.6.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, compute_dtype: mstype.Type = mstype.float32
    ):
        super().__init__()
        self.compute_dtype = compute_dtype
        self.norm = LayerNorm(4 * in_channels)
        self.reduction = Linear(4 * in_channels, out_channels, has_bias=False)

    def construct(self, x):
        batch, time, height, width, channels = x.shape
        if height % 2 or width % 2:
            x = pad_with_zeros(x, ((0, 0), (0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        height, width = (height + 1) // 2, (width + 1) // 2
        x = x.reshape(batch * time, height, 2, width, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        x = self.norm(x.reshape(batch, time, height, width, 4 * channels))
        return self.reduction(x.astype(self.compute_dtype)).astype(ms.float32)


class Upsampling(nn.Cell):
    """Nearest resize of every frame, then a 3x3 convolution: `[B,T,h,w,C] -> [B,T,H,W,C']`.

    Args:
        in_channels: C.
        out_channels: C'.
        source: (h, w).
        target: (H, W), at least the source.
        compute_dtype: dtype of the convolution.

    Source: MODEL.md section 2.7.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        source: tuple[int, int],
        target: tuple[int, int],
        compute_dtype: mstype.Type = mstype.float32,
    ):
        super().__init__()
        if any(big < small for small, big in zip(source, target, strict=True)):
            raise UserError(f"upsampling from {source} to {target} would shrink the frame")
        self.compute_dtype, self.target = compute_dtype, tuple(target)
        self.doubles = all(big == 2 * small for small, big in zip(source, target, strict=True))
        if not self.doubles:
            self.rows = Tensor(nearest_source(source[0], target[0]))
            self.columns = Tensor(nearest_source(source[1], target[1]))
        self.conv = Conv2d(in_channels, out_channels, 3)

    def construct(self, x):
        batch, time, height, width, channels = x.shape
        x = x.astype(self.compute_dtype).reshape(batch * time, height, width, channels)
        if self.doubles:
            x = x.reshape(batch * time, height, 1, width, 1, channels)
            x = ops.broadcast_to(x, (batch * time, height, 2, width, 2, channels))
            x = x.reshape(batch * time, 2 * height, 2 * width, channels)
        else:
            x = ops.gather(ops.gather(x, self.rows, 1), self.columns, 2)
        y = self.conv(x).astype(ms.float32)
        return y.reshape(batch, time, *self.target, -1)
