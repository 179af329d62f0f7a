"""What the denoiser and the alignment network share: entry, levels, widths and grids.

Shapes: B batch; T, H, W grid; C channel; E width of the time vector.
"""

from dataclasses import dataclass

from mindspore import dtype as mstype
from mindspore import nn, ops

from hpc.errors import UserError
from hpc.ops.cuboid_attention.geometry import Axes
from prediff.models.blocks import AttentionStack, ResidualBlock
from prediff.models.embeddings import PositionEmbedding, TimeEmbedding

TIME_RATIO = 4  # E over the base width
_REPEAT_STEP = 0x9E37  # tells the dropout keys of a level's repeats apart


@dataclass(frozen=True)
class LevelPlan:
    """Width and grid of one level."""

    dim: int
    grid: Axes
    depth: int


def plan_levels(
    *, grid: Axes, base_width: int, depths: list[int], num_heads: int, width_growth: float = 1.0
) -> list[LevelPlan]:
    """Return the levels, the finest first: each halves H and W (rounded up) and widens.

    Level i has base_width * int(2**(width_growth * i)) channels.

    Raises:
        UserError: no level, an empty level, a grid or width below 1, a width that the heads do not
            divide, or more levels than the grid can be halved.
    Source: MODEL.md section 2.
    """
    if not depths or min(depths) < 1:
        raise UserError(f"depths {list(depths)}: give one positive number of blocks for each level")
    if min(grid) < 1 or base_width < 1:
        raise UserError(f"grid {grid} and base width {base_width} must be positive")
    levels = []
    time, height, width = grid
    for i, depth in enumerate(depths):
        if i and max(height, width) == 1:
            raise UserError(
                f"{len(depths)} levels are too many for frames of {grid[1]}x{grid[2]}: "
                f"level {i - 1} is a single cell, use at most {i}"
            )
        if i:
            height, width = (height + 1) // 2, (width + 1) // 2
        dim = base_width * int(2 ** (width_growth * i))
        if num_heads < 1 or dim % num_heads:
            raise UserError(
                f"level {i} has {dim} channels, which {num_heads} heads do not divide: change "
                "base_width or num_heads"
            )
        levels.append(LevelPlan(dim=dim, grid=(time, height, width), depth=depth))
    return levels


class Entry(nn.Cell):
    """Projection, position and time: ``construct(x, step, key) -> (h [B,T,H,W,C'], e [B,E])``.

    Args:
        in_channels: C of x `[B,T,H,W,C]`.
        dim: C', the base width; E is 4 C'.
        grid: (T, H, W).
        dropout: inside the projection block.
        compute_dtype: dtype of the convolutions.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        dim: int,
        grid: Axes,
        dropout: float,
        compute_dtype: mstype.Type,
    ):
        super().__init__()
        self.projection = ResidualBlock(
            in_channels, dim, dropout=dropout, compute_dtype=compute_dtype
        )
        self.position_embedding = PositionEmbedding(grid=grid, dim=dim)
        self.time_embedding = TimeEmbedding(dim=dim, out_dim=TIME_RATIO * dim)

    def construct(self, x, step, dropout_key=None):
        h = self.position_embedding(self.projection(x, None, dropout_key))
        return h, self.time_embedding(step)


class Level(nn.Cell):
    """One level of one path: a time block, shared by all repeats, and a stack for each repeat.

    A block, the unit at which a pipeline may cut, is repeat j: ``block(j, h, e, key)``.
    ``construct`` runs all of them. With global vectors both take and return them as well.

    Args:
        plan: width, grid and number of repeats.
        embedding_dim: E.
        time_block_dropout: inside the time block.
        recompute: save only what enters the time block and the stack, compute the rest again in
            the backward pass.
        compute_dtype: dtype of products and convolutions.
        stack_options: the other options of `AttentionStack`.
    """

    def __init__(
        self,
        plan: LevelPlan,
        *,
        embedding_dim: int,
        time_block_dropout: float,
        recompute: bool,
        compute_dtype: mstype.Type,
        stack_options: dict,
    ):
        super().__init__()
        self.time_block = ResidualBlock(
            plan.dim,
            plan.dim,
            embedding_dim=embedding_dim,
            dropout=time_block_dropout,
            compute_dtype=compute_dtype,
        )
        stacks = [
            AttentionStack(
                dim=plan.dim, grid=plan.grid, compute_dtype=compute_dtype, **stack_options
            )
            for _ in range(plan.depth)
        ]
        self.stacks = nn.CellList(stacks)
        self.depth = plan.depth
        if recompute:
            for cell in (self.time_block, *stacks):
                cell.recompute()

    def block(self, j, h, embedding, dropout_key=None, vectors=None):
        """Run repeat j: the time block, then stack j."""
        time_key = dropout_key
        if dropout_key is not None:
            time_key = ops.bitwise_xor(dropout_key, j * _REPEAT_STEP)
        h = self.time_block(h, embedding, time_key)
        if vectors is None:
            return self.stacks[j](h, dropout_key)
        return self.stacks[j](h, dropout_key, vectors)

    def construct(self, h, embedding, dropout_key=None, vectors=None):
        for j in range(self.depth):
            if vectors is None:
                h = self.block(j, h, embedding, dropout_key)
            else:
                h, vectors = self.block(j, h, embedding, dropout_key, vectors)
        return h if vectors is None else (h, vectors)
