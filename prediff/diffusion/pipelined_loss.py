"""The training loss of the denoiser in pieces, for a pipeline.

B batch, T time, H, W space, C channel. The first piece noises the clean latents and enters the
denoiser, the last leaves it and compares: both need the clean latents and the noise, and in a
folded pipeline both are on the same rank.
"""

from collections.abc import Callable, Sequence

from mindspore import nn

from hpc.pipeline.chunk import Chunk
from hpc.pipeline.partition import fold_blocks, split_blocks
from prediff.diffusion.diffusion_loss import DiffusionLoss, weighted_losses
from prediff.diffusion.tables import at_step
from prediff.models.unet_chunks import Block, UNetChunk, unet_blocks, unet_skips

CLEAN, NOISE, STEP, CONDITION, KEY = range(5)  # inputs of DiffusionLoss.construct


def chunks_of_rank(
    loss: DiffusionLoss, *, stages: int, stage: int, costs: Sequence[float]
) -> dict[int, Chunk]:
    """Return one rank's two pieces of a folded pipeline, by number, and drop the others.

    Afterwards the loss Cell itself cannot run any more.

    Args:
        loss: the whole, with an Earthformer-UNet.
        stages: ranks of the pipeline.
        stage: this one's place among them.
        costs: of each block of `unet_blocks`, by which they are spread.

    Raises:
        UserError: more stages than blocks allow, or a denoiser with global vectors.
    """
    depths = [level.depth for level in loss.denoiser.levels]
    blocks = unet_blocks(depths)
    bounds = fold_blocks(costs, stages=stages, skips=unet_skips(depths))
    pieces = cut_loss(loss, bounds=bounds)
    held = (stage, 2 * stages - 1 - stage)
    keep_blocks(loss, [block for c in held for block in blocks[bounds[c] : bounds[c + 1]]])
    return {c: pieces[c] for c in held}


def chunks_in_a_row(
    make_loss: Callable[[], DiffusionLoss], *, stages: int, costs: Sequence[float]
) -> list[Chunk]:
    """Return the pieces of a pipeline that is not folded, one a stage, that share no parameter.

    What several stages use, each has a copy of, under the same canonical name.

    Args:
        make_loss: makes the whole, with an Earthformer-UNet; called for every stage.
        stages: of the pipeline.
        costs: of each block of `unet_blocks`, by which they are spread.

    Raises:
        UserError: more stages than blocks, or a denoiser with global vectors.
    """
    bounds = split_blocks(costs, stages=stages)
    pieces = []
    for s in range(stages):
        loss = make_loss()
        blocks = unet_blocks([level.depth for level in loss.denoiser.levels])
        pieces.append(cut_loss(loss, bounds=bounds)[s])
        keep_blocks(loss, blocks[bounds[s] : bounds[s + 1]])
        for parameter in loss.get_parameters():  # one graph has all: it tells them apart by name
            parameter.name = f"stage_{s}.{parameter.name}"
    return pieces


def chunks_of_single_blocks(loss: DiffusionLoss) -> dict[int, Chunk]:
    """Return every block as a piece of its own, by number, for one rank.

    Raises:
        UserError: a denoiser with global vectors.
    """
    count = len(unet_blocks([level.depth for level in loss.denoiser.levels]))
    return dict(enumerate(cut_loss(loss, bounds=range(count + 1))))


def cut_loss(loss: DiffusionLoss, *, bounds: Sequence[int]) -> list[Chunk]:
    """Return the pieces of a loss Cell whose denoiser is an Earthformer-UNet.

    They share its Cells and parameters and together compute what ``loss(clean, noise, step,
    condition, dropout_key)`` does, to the last mask of dropout.

    Args:
        loss: the whole.
        bounds: chunk c has blocks ``bounds[c]`` to ``bounds[c+1]-1`` of `unet_blocks`.

    Raises:
        UserError: the denoiser has global vectors.
    """
    names = {id(p): name for name, p in loss.parameters_and_names() if p.requires_grad}
    blocks = unet_blocks([level.depth for level in loss.denoiser.levels])
    count = len(bounds) - 1
    pieces = []
    for c in range(count):
        part = blocks[bounds[c] : bounds[c + 1]]
        if c == 0:
            cell: _First | _Inner | _Last = _First(loss, part)
        elif c < count - 1:
            cell = _Inner(loss, part)
        else:
            cell = _Last(loss, part)
        held = [p for sub_cell in cell.parts for p in sub_cell.get_parameters()]
        if c == count - 1:
            held.append(loss.logvar)
        pieces.append(
            Chunk(
                cell=cell,
                parameters={names[id(p)]: p for p in held if id(p) in names},
                inputs=cell.INPUTS,
                out_shape=None if c == count - 1 else cell.body.out_shape,
                skips_taken=cell.body.skips_taken,
                skips_made=cell.body.skips_made,
            )
        )
    return pieces


def keep_blocks(loss: DiffusionLoss, kept: Sequence[Block]) -> None:
    """Drop the denoiser's other blocks from memory; only pieces of `kept` can run afterwards."""
    for path, levels in (
        ("down", loss.denoiser.down_levels),
        ("up", loss.denoiser.up_levels),
    ):
        for i, level in enumerate(levels):
            repeats = [block.repeat for block in kept if (block.path, block.level) == (path, i)]
            for j in range(level.depth):
                if j not in repeats:
                    level.stacks[j] = nn.Identity()
            if not repeats:
                level.time_block = nn.Identity()


class _First(nn.Cell):
    """clean, noise, step, condition, key -> the stream and the skips that begin here."""

    INPUTS = (CLEAN, NOISE, STEP, CONDITION, KEY)

    def __init__(self, loss: DiffusionLoss, blocks: Sequence[Block]):
        super().__init__(auto_prefix=False)
        self.denoiser = loss.denoiser
        self.body = UNetChunk(loss.denoiser, blocks)
        self.signal, self.noise_level = loss.signal, loss.noise_level
        self.parts = [loss.denoiser.entry, *self.body.parts]

    def construct(self, clean, noise, step, condition, dropout_key):
        noisy = (
            at_step(self.signal, step, clean) * clean
            + at_step(self.noise_level, step, clean) * noise
        )
        x = self.denoiser.merge_inputs(noisy, condition)
        h, embedding = self.denoiser.entry(x, step, dropout_key)
        h, skips = self.body(h, embedding, dropout_key, ())
        return (h, *skips)


class _Inner(nn.Cell):
    """stream, skips that end here, step, key -> the stream and the skips that begin here."""

    INPUTS = (STEP, KEY)

    def __init__(self, loss: DiffusionLoss, blocks: Sequence[Block]):
        super().__init__(auto_prefix=False)
        self.time_embedding = loss.denoiser.entry.time_embedding
        self.body = UNetChunk(loss.denoiser, blocks)
        self.parts = [self.time_embedding, *self.body.parts]

    def construct(self, h, *rest):
        step, dropout_key = rest[-2], rest[-1]
        embedding = self.time_embedding(step)
        h, skips = self.body(h, embedding, dropout_key, rest[:-2])
        return (h, *skips)


class _Last(nn.Cell):
    """stream, skips that end here, clean, noise, step, key -> loss and scalars."""

    INPUTS = (CLEAN, NOISE, STEP, KEY)

    def __init__(self, loss: DiffusionLoss, blocks: Sequence[Block]):
        super().__init__(auto_prefix=False)
        self.denoiser, self.logvar = loss.denoiser, loss.logvar
        self.time_embedding = loss.denoiser.entry.time_embedding
        self.body = UNetChunk(loss.denoiser, blocks)
        self.target_of_clean, self.target_of_noise = loss.target_of_clean, loss.target_of_noise
        self.bound_weights, self.vlb_weight = loss.bound_weights, loss.vlb_weight
        self.parts = [self.time_embedding, *self.body.parts, loss.denoiser.final_projection]

    def construct(self, h, *rest):
        clean, noise, step, dropout_key = rest[-4], rest[-3], rest[-2], rest[-1]
        embedding = self.time_embedding(step)
        h, _ = self.body(h, embedding, dropout_key, rest[:-4])
        target = (
            at_step(self.target_of_clean, step, clean) * clean
            + at_step(self.target_of_noise, step, clean) * noise
        )
        return weighted_losses(
            self.denoiser.leave(h), target, step, self.logvar, self.bound_weights, self.vlb_weight
        )
