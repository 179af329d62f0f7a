"""The denoiser in pieces: which blocks it has, and a run of neighbouring blocks as one Cell.

Shapes: B batch; T, H, W grid; C channel; E width of the time vector.

A skip joins the last block of level i on the way down to the first one on the way up. Skips are
nested, so pieces hand them on as a stack: the way down pushes, the way up pops. Between two pieces
the stream `[B,T,H,W,C]` is where it is smallest: a merging belongs to the block before it, an
upsampling to the block after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mindspore import nn

from hpc.errors import UserError
from prediff.models.earthformer_unet import EarthformerUNet


@dataclass(frozen=True)
class Block:
    """A (time block, attention stack) of one path and level."""

    path: str
    """``down`` or ``up``."""
    level: int
    repeat: int


def unet_blocks(depths: Sequence[int]) -> list[Block]:
    """Return the blocks of a denoiser in the order in which they run."""
    down = [Block("down", i, j) for i, depth in enumerate(depths) for j in range(depth)]
    up = [Block("up", i, j) for i in reversed(range(len(depths))) for j in range(depths[i])]
    return down + up


def unet_skips(depths: Sequence[int]) -> list[tuple[int, int]]:
    """Return (number of the block that makes it, of the one that takes it) of each skip."""
    blocks = unet_blocks(depths)
    return [
        (blocks.index(Block("down", i, depth - 1)), blocks.index(Block("up", i, 0)))
        for i, depth in enumerate(depths[:-1])
    ]


class UNetChunk(nn.Cell):
    """Neighbouring blocks of a denoiser: ``construct(h, e, key, skips) -> (h, skips)``.

    h `[B,T,H,W,C]`, e `[B,E]`, key `[B]` int32 or None, skips a tuple of arrays, the coarsest last.

    Args:
        unet: the whole denoiser, whose Cells the chunk shares.
        blocks: of `unet_blocks`, without gaps.

    Raises:
        UserError: a denoiser with global vectors, which a pipeline does not carry.
    """

    def __init__(self, unet: EarthformerUNet, blocks: Sequence[Block]):
        super().__init__(auto_prefix=False)
        if unet.num_global_vectors:
            raise UserError(
                "a pipeline does not carry global vectors: set denoiser.global_vectors or "
                "parallel.pipeline to its default"
            )
        steps = [_BlockStep(unet, block) for block in blocks]
        self.steps = nn.CellList(steps, auto_prefix=False)
        self.parts = [part for step in steps for part in step.parts]
        """The Cells whose parameters the chunk uses."""
        shapes = [(*level.grid, level.dim) for level in unet.levels]
        self.skips_made = tuple(
            shapes[block.level]
            for block, step in zip(blocks, steps, strict=True)
            if step.makes_skip
        )
        """(T, H, W, C) of the skips that begin here, in the order of the stack."""
        self.skips_taken = tuple(
            shapes[block.level]
            for block, step in reversed(list(zip(blocks, steps, strict=True)))
            if step.takes_skip
        )
        self.out_shape = shapes[blocks[-1].level + steps[-1].makes_skip]
        """(T, H, W, C) of the stream that leaves."""

    def construct(self, h, embedding, dropout_key, skips):
        for step in self.steps:
            h, skips = step(h, embedding, dropout_key, skips)
        return h, skips


class _BlockStep(nn.Cell):
    """A block with what stands between it and its coarser neighbour."""

    def __init__(self, unet: EarthformerUNet, block: Block):
        super().__init__(auto_prefix=False)
        is_down, i, j = block.path == "down", block.level, block.repeat
        is_bottom = i == unet.depth - 1
        self.level = (unet.down_levels if is_down else unet.up_levels)[i]
        self.repeat = j
        self.makes_skip = is_down and not is_bottom and j == self.level.depth - 1
        self.takes_skip = not is_down and not is_bottom and j == 0
        self.parts: list[nn.Cell] = [self.level.time_block, self.level.stacks[j]]
        self.resize = self.position = None
        if self.makes_skip or self.takes_skip:
            self.resize = (unet.mergings if is_down else unet.upsamplings)[i]
            self.parts.append(self.resize)
            if unet.hierarchical_positions:
                self.position = (unet.down_positions if is_down else unet.up_positions)[i]
                self.parts.append(self.position)

    def construct(self, h, embedding, dropout_key, skips):
        if self.takes_skip:
            h = self._resize(h) + skips[-1]
            skips = skips[:-1]
        h = self.level.block(self.repeat, h, embedding, dropout_key)
        if self.makes_skip:
            skips = (*skips, h)
            h = self._resize(h)
        return h, skips

    def _resize(self, h):
        h = self.resize(h)
        if self.position is not None:
            h = self.position(h)
        return h
