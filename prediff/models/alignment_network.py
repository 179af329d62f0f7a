"""The alignment network: mean intensity of the future frames from their noisy latents.

Shapes: B batch; T, H, W grid of the forecast frames; C channel; N = B*T frames; S = H*W tokens of
a frame; h heads; D width of a head.

It is the down half of the denoiser (same names there), then a readout. Reference names: ``out.0``
-> `readout_norm`, ``out.2`` -> `pool` with ``positional_embedding``, ``qkv_proj``, ``c_proj`` ->
`position_table`, `qkv`, `projection`.

Source: Gao et al. 2023 (PreDiff), section 3.3; MODEL.md section 5.
"""

from itertools import pairwise

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

from hpc.errors import UserError
from hpc.ops.dropout import name_dropout_layers
from hpc.ops.initialization import GeneratorOf, initialize
from hpc.ops.linear import Linear
from hpc.ops.normalization import GroupNorm
from hpc.ops.precision import check_compute_dtype
from prediff.models.blocks import PatchMerging
from prediff.models.levels import TIME_RATIO, Entry, Level, plan_levels

READOUT_GROUPS = 32


class PointwiseConv1d(Linear):
    """A Linear whose reference is a 1-D convolution of kernel 1, `[C_out, C_in, 1]`."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, initial="uniform")

    @staticmethod
    def reference_to_parameter(array: np.ndarray) -> np.ndarray:
        """Return our `weight` `[C_out, C_in]` of the reference's."""
        return array[..., 0]

    @staticmethod
    def parameter_to_reference(array: np.ndarray) -> np.ndarray:
        """Return the reference's weight of ours."""
        return array[..., None]


class AttentionPool(nn.Cell):
    """What the mean token of a frame gathers from all tokens: `[N,S,C] -> [N,C_out]`, float32.

    Args:
        dim: C, a multiple of `num_heads`.
        tokens: S.
        num_heads: h.
        out_channels: C_out.

    Raises:
        UserError: the heads do not divide the channels.
    """

    def __init__(self, *, dim: int, tokens: int, num_heads: int, out_channels: int = 1):
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise UserError(f"attention pool: {dim} channels do not split into {num_heads} heads")
        self.num_heads, self.width = num_heads, dim // num_heads
        table = np.zeros((dim, tokens + 1), np.float32)
        self.position_table = Parameter(Tensor(table), name="position_table")
        self.qkv = PointwiseConv1d(dim, 3 * dim)
        self.projection = PointwiseConv1d(dim, out_channels)
        self.scores_of = ops.BatchMatMul(transpose_b=True)
        self.values_of = ops.BatchMatMul()

    def initial_values(self, generator_of: GeneratorOf) -> dict[str, np.ndarray]:
        """Return the starting table, N(0, 1/C)."""
        dim, tokens = self.position_table.shape
        normals = generator_of("position_table").standard_normal((dim, tokens), dtype=np.float32)
        return {"position_table": normals * np.float32(dim**-0.5)}

    def construct(self, x):
        frames, tokens, dim = x.shape
        x = ops.concat((x.mean(1, keep_dims=True), x), 1) + self.position_table.transpose(1, 0)
        qkv = self.qkv(x).reshape(frames, tokens + 1, 3, self.num_heads, self.width)
        k = qkv[:, :, 1].transpose(0, 2, 1, 3)
        v = qkv[:, :, 2].transpose(0, 2, 1, 3)
        # Only the mean token is read out, so only its query is used: [N, h, 1, D].
        q = qkv[:, 0, 0].expand_dims(2) * self.width**-0.5
        weights = ops.softmax(self.scores_of(q, k), -1)
        return self.projection(self.values_of(weights, v).reshape(frames, dim))


class AlignmentNetwork(nn.Cell):
    """Mean intensity of each frame: ``construct(noisy, step, dropout_key) -> [B,T,1]``.

    noisy `[B,T,H,W,C]` are noisy latents of the forecast frames, step `[B]` integer, and in
    training dropout keys `[B]` int32. The result is float32, in pixel units of [0, 1].

    Args:
        forecast_length: T.
        height: H of the latents.
        width: W of the latents.
        latent_channels: C.
        base_width: channels of the finest level.
        depths: blocks of each level, the finest first.
        num_heads: heads of the attentions and of the pool.
        pattern, padding, width_growth, attention_dropout, projection_dropout,
        feed_forward_dropout, time_block_dropout, recompute, compute_dtype, backend, seed:
            as in `EarthformerUNet`.

    Raises:
        UserError: settings that cannot work.
    """

    def __init__(
        self,
        *,
        forecast_length: int,
        height: int,
        width: int,
        latent_channels: int,
        base_width: int,
        depths: list[int],
        num_heads: int,
        pattern: str = "axial",
        padding: str = "zeros",
        width_growth: float = 1.0,
        attention_dropout: float = 0.1,
        projection_dropout: float = 0.1,
        feed_forward_dropout: float = 0.1,
        time_block_dropout: float = 0.0,
        recompute: bool = False,
        compute_dtype: mstype.Type = mstype.float32,
        backend: str = "auto",
        seed: int = 0,
    ):
        super().__init__()
        if latent_channels < 1:
            raise UserError(f"latent_channels {latent_channels} must be at least 1")
        check_compute_dtype(compute_dtype)
        self.levels = plan_levels(
            grid=(forecast_length, height, width),
            base_width=base_width,
            depths=depths,
            num_heads=num_heads,
            width_growth=width_growth,
        )
        self.entry = Entry(
            in_channels=latent_channels,
            dim=base_width,
            grid=self.levels[0].grid,
            dropout=projection_dropout,
            compute_dtype=compute_dtype,
        )
        self.down_levels = nn.CellList(
            [
                Level(
                    level,
                    embedding_dim=TIME_RATIO * base_width,
                    time_block_dropout=time_block_dropout,
                    recompute=recompute,
                    compute_dtype=compute_dtype,
                    stack_options={
                        "num_heads": num_heads,
                        "pattern": pattern,
                        "padding": padding,
                        "attention_dropout": attention_dropout,
                        "projection_dropout": projection_dropout,
                        "feed_forward_dropout": feed_forward_dropout,
                        "backend": backend,
                    },
                )
                for level in self.levels
            ]
        )
        dims = [level.dim for level in self.levels]
        self.mergings = nn.CellList(
            [
                PatchMerging(small, large, compute_dtype=compute_dtype)
                for small, large in pairwise(dims)
            ]
        )
        _, rows, columns = self.levels[-1].grid
        self.readout_norm = GroupNorm(min(dims[-1], READOUT_GROUPS), dims[-1], 1e-5, then_silu=True)
        self.pool = AttentionPool(dim=dims[-1], tokens=rows * columns, num_heads=num_heads)
        self.depth = len(dims)
        name_dropout_layers(self)
        initialize(self, seed=seed)

    def construct(self, noisy, step, dropout_key=None):
        h, embedding = self.entry(noisy.astype(ms.float32), step, dropout_key)
        for i in range(self.depth):
            if i > 0:
                h = self.mergings[i - 1](h)
            h = self.down_levels[i](h, embedding, dropout_key)
        batch, time, height, width, channels = h.shape
        tokens = h.reshape(batch * time, height * width, channels)
        return self.pool(self.readout_norm(tokens)).reshape(batch, time, 1)
