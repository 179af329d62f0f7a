"""The latent denoiser: a U-Net of cuboid-attention blocks over (time, height, width).

Shapes: B batch; T, H, W grid, T = T_in context + T_out forecast frames; C latent channels.

The network is an entry, blocks, and an exit. A block is (time block of its level, one attention
stack); a pipeline may cut between any two of them:

    entry            `merge_inputs`, then `entry`
    down, level i    `mergings[i-1]` (i > 0), blocks `down_levels[i].block(j, ...)`
    up, level i      `+ skip` (not at the bottom), `up_levels[i].block(j, ...)`,
                     `upsamplings[i-1]` (i > 0)
    exit             `leave`

Reference names: ``first_proj`` -> `entry.projection`, ``pos_embed`` ->
`entry.position_embedding`, ``time_embed`` -> `entry.time_embedding`, ``downsample_layers`` ->
`mergings`, ``upsample_layers`` -> `upsamplings`, ``down_time_embed_blocks.i`` ->
`down_levels.i.time_block`, ``down_self_blocks.i.j`` -> `down_levels.i.stacks.j` (up likewise),
``final_proj`` -> `final_projection`. The parts inside are listed in blocks.py, embeddings.py and
cuboid.py; prediff/convert/denoiser_names.py holds all rules.

Source: Gao et al. 2023 (PreDiff), appendix; MODEL.md section 2.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

from hpc.errors import UserError
from hpc.ops.dropout import name_dropout_layers
from hpc.ops.initialization import GeneratorOf, initialize, table_values
from hpc.ops.linear import Linear
from hpc.ops.precision import check_compute_dtype
from prediff.models.blocks import PatchMerging, Upsampling
from prediff.models.embeddings import PositionEmbedding
from prediff.models.levels import TIME_RATIO, Entry, Level, plan_levels


class EarthformerUNet(nn.Cell):
    """Predict what was added to the future: ``construct(noisy, step, condition, dropout_key)``.

    noisy `[B,T_out,H,W,C]`, step `[B]` integer, condition `[B,T_in,H,W,C]` (the context), and in
    training the samples' dropout keys `[B]` int32 -> `[B,T_out,H,W,C]` float32.

    Args:
        context_length: T_in.
        forecast_length: T_out.
        height: H of the latents.
        width: W of the latents.
        latent_channels: C.
        base_width: channels of the finest level.
        depths: blocks of each level, the finest first; as many on the way down as up.
        num_heads: attention heads on every level.
        pattern: name for `prediff.models.cuboid.attention_pattern`.
        padding: of the cuboids, ``zeros``, ``ignore`` or ``nearest``.
        width_growth: level i has base_width * int(2**(width_growth*i)) channels.
        attention_dropout: of the attention weights.
        projection_dropout: of the attentions' outputs and in the entry's projection.
        feed_forward_dropout: of both drops of the feed-forward layers.
        time_block_dropout: in the time blocks.
        num_global_vectors: learned vectors that every cuboid sees, 0 for none.
        hierarchical_positions: add position tables on every level of both paths, not only at the
            entry.
        recompute: keep only block boundaries for the backward pass.
        compute_dtype: float32, float16 or bfloat16, of products and convolutions; norms, softmax,
            the residual stream and the time vector stay float32.
        backend: of the attention, see `hpc.ops.cuboid_attention.op`.
        seed: of the starting weights (MODEL.md section 2.8).

    Raises:
        UserError: settings that cannot work.
    """

    def __init__(
        self,
        *,
        context_length: int,
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
        num_global_vectors: int = 0,
        hierarchical_positions: bool = False,
        recompute: bool = False,
        compute_dtype: mstype.Type = mstype.float32,
        backend: str = "auto",
        seed: int = 0,
    ):
        super().__init__()
        if context_length < 1 or forecast_length < 1:
            raise UserError(
                f"context of {context_length} and forecast of {forecast_length} frames: "
                "both must be at least 1"
            )
        if latent_channels < 1 or num_global_vectors < 0:
            raise UserError(
                f"latent_channels {latent_channels} must be at least 1 and num_global_vectors "
                f"{num_global_vectors} at least 0"
            )
        check_compute_dtype(compute_dtype)
        self.context_length, self.forecast_length = context_length, forecast_length
        self.levels = plan_levels(
            grid=(context_length + forecast_length, height, width),
            base_width=base_width,
            depths=depths,
            num_heads=num_heads,
            width_growth=width_growth,
        )
        dims = [level.dim for level in self.levels]
        grids = [level.grid for level in self.levels]
        options = {"compute_dtype": compute_dtype}
        self.entry = Entry(
            in_channels=latent_channels + 1,
            dim=base_width,
            grid=grids[0],
            dropout=projection_dropout,
            **options,
        )

        def path() -> nn.CellList:
            return nn.CellList(
                [
                    Level(
                        level,
                        embedding_dim=TIME_RATIO * base_width,
                        time_block_dropout=time_block_dropout,
                        recompute=recompute,
                        stack_options={
                            "num_heads": num_heads,
                            "pattern": pattern,
                            "padding": padding,
                            "attention_dropout": attention_dropout,
                            "projection_dropout": projection_dropout,
                            "feed_forward_dropout": feed_forward_dropout,
                            "use_global_vectors": num_global_vectors > 0,
                            "backend": backend,
                        },
                        **options,
                    )
                    for level in self.levels
                ]
            )

        steps = range(len(dims) - 1)
        self.down_levels = path()
        self.mergings = nn.CellList([PatchMerging(dims[i], dims[i + 1], **options) for i in steps])
        self.up_levels = path()
        self.upsamplings = nn.CellList(
            [
                Upsampling(
                    dims[i + 1],
                    dims[i],
                    source=grids[i + 1][1:],
                    target=grids[i][1:],
                    **options,
                )
                for i in steps
            ]
        )
        self.hierarchical_positions = hierarchical_positions
        if hierarchical_positions:
            tables = [(grids[i + 1], dims[i + 1]) for i in steps]
            self.down_positions = _position_embeddings(tables)
            self.up_positions = _position_embeddings(list(zip(grids, dims, strict=True))[:-1])
        self.num_global_vectors = num_global_vectors
        if num_global_vectors:
            zeros = np.zeros((num_global_vectors, base_width), np.float32)
            self.global_vectors = Parameter(Tensor(zeros), name="global_vectors")
            self.global_widenings = nn.CellList([Linear(dims[i], dims[i + 1]) for i in steps])
            self.global_narrowings = nn.CellList([Linear(dims[i + 1], dims[i]) for i in steps])
        self.final_projection = Linear(base_width, latent_channels, initial="zeros")
        self.depth = len(dims)
        name_dropout_layers(self)
        initialize(self, seed=seed)

    def initial_values(self, generator_of: GeneratorOf) -> dict[str, np.ndarray]:
        """Return the starting global vectors."""
        if not self.num_global_vectors:
            return {}
        shape = self.global_vectors.shape
        return {"global_vectors": table_values(shape, generator=generator_of("global_vectors"))}

    def construct(self, noisy, step, condition, dropout_key=None):
        h, embedding = self.entry(self.merge_inputs(noisy, condition), step, dropout_key)
        vectors = None
        if self.num_global_vectors:
            vectors = ops.broadcast_to(
                self.global_vectors, (noisy.shape[0], *self.global_vectors.shape)
            )
        skips = ()
        for i in range(self.depth):
            if i > 0:
                h = self.mergings[i - 1](h)
                if self.hierarchical_positions:
                    h = self.down_positions[i - 1](h)
                if self.num_global_vectors:
                    vectors = self.global_widenings[i - 1](vectors)
            h, vectors = self._run(self.down_levels[i], h, embedding, dropout_key, vectors)
            skips = (*skips, h)
        for i in range(self.depth - 1, -1, -1):
            if i < self.depth - 1:
                h = h + skips[i]
            h, vectors = self._run(self.up_levels[i], h, embedding, dropout_key, vectors)
            if i > 0:
                h = self.upsamplings[i - 1](h)
                if self.hierarchical_positions:
                    h = self.up_positions[i - 1](h)
                if self.num_global_vectors:
                    vectors = self.global_narrowings[i - 1](vectors)
        return self.leave(h)

    def merge_inputs(self, noisy, condition):
        """Return `[B,T,H,W,C+1]`: context frames first, marked by 1 in the last channel."""
        frames = ops.concat((condition, noisy), 1).astype(ms.float32)
        past = ops.ones_like(condition[..., :1]).astype(ms.float32)
        future = ops.zeros_like(noisy[..., :1]).astype(ms.float32)
        return ops.concat((frames, ops.concat((past, future), 1)), -1)

    def leave(self, h):
        """Return the prediction `[B,T_out,H,W,C]` of the last block's output `[B,T,H,W,C']`."""
        return self.final_projection(h[:, self.context_length :])

    def _run(self, level, h, embedding, dropout_key, vectors):
        if self.num_global_vectors:
            return level(h, embedding, dropout_key, vectors)
        return level(h, embedding, dropout_key), None


def _position_embeddings(tables: list[tuple[tuple[int, int, int], int]]) -> nn.CellList:
    return nn.CellList([PositionEmbedding(grid=grid, dim=dim) for grid, dim in tables])
