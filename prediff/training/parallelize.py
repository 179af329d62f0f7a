"""How a number of ranks share one training: every decision, in the order in which they depend.

`train`, `profile` and `plan` ask here; `prediff.training.parallel_step` carries it out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from hpc.cluster.mesh import Mesh, make_mesh
from hpc.environment import has_npu
from hpc.errors import UserError
from hpc.pipeline.partition import fold_blocks, split_blocks
from hpc.pipeline.schedule import micro_batches_of
from prediff.config import Config
from prediff.config.schema import Parallel
from prediff.config.trainings import Training
from prediff.models.denoiser_cost import DenoiserCost
from prediff.models.unet_chunks import unet_skips

Engine = Literal[
    "one graph", "accumulating", "fixed order", "block by block", "folded", "mindspore"
]


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """What a network can be cut into."""

    costs: Sequence[float]
    """Operations of each block."""
    skips: Sequence[tuple[int, int]]
    """Blocks that a skip connection joins."""
    can_be_cut: bool = True
    """Whether nothing but the stream and skips goes from block to block."""


@dataclass(frozen=True, kw_only=True)
class Parallelism:
    """What `parallelize` decided; by default for one process and one micro-batch."""

    mesh: Mesh = field(default_factory=Mesh)
    micro_batches: int = 1
    """Of a step on one rank."""
    engine: Engine = "one graph"
    bounds: tuple[int, ...] = ()
    """First block of each chunk, and the number of blocks; empty where the network stays whole."""
    recomputes_in_blocks: bool = False
    """Whether blocks compute parts of themselves again in their backward pass."""
    shares_optimizer: bool = False
    """Whether the data ranks share the optimizer's state out (ZeRO-1)."""
    summation_shards: int | None = None
    """Of the global batch, whose gradients are added up in one order on any number of ranks."""


ON_ONE_PROCESS = Parallelism()


def parallelize(
    *,
    settings: Training,
    ranks: int,
    parallel: Parallel | None = None,
    blocks: Blocks | None = None,
    recompute: bool = False,
    summation_shards: int | None = None,
) -> Parallelism:
    """Return how ranks train a network.

    Args:
        settings: of the training.
        ranks: that train it.
        parallel: what the user asked for; None is the data axis alone.
        blocks: of the network; None if it has none.
        recompute: whether the blocks' activations are computed again to save memory.
        summation_shards: see `Parallelism`; None adds up as is fastest.

    Raises:
        UserError: the ranks, the batch or the blocks cannot be cut so; says what works.
    """
    parallel = parallel or Parallel()
    # Stages come first: they fix which ranks see the same samples, and so the size of all else.
    mesh = make_mesh(ranks=ranks, pipeline=parallel.pipeline, global_batch=settings.global_batch)
    in_pieces = mesh.pipeline > 1 or recompute
    if in_pieces and blocks is not None and not blocks.can_be_cut:
        raise UserError(
            "a pipeline does not carry global vectors, nor does recomputation: set denoiser."
            "global_vectors to 0, or parallel.pipeline to 1 and denoiser.recompute to false"
        )
    # As few micro-batches as fit in memory make the largest products; stages idle with too few.
    micro_batches = micro_batches_of(
        samples=settings.global_batch // mesh.data,
        largest=settings.micro_batch,
        stages=mesh.pipeline,
    )
    # MindSpore's pipeline is refused where it cannot run before anything is built for it.
    by_mindspore = parallel.pipeline_engine == "mindspore"
    if by_mindspore:
        _check_mindspore(mesh, micro_batches, settings=settings)
    # Cuts go where stages get equal work: folded, so that no skip leaves its rank, or in a row.
    bounds: tuple[int, ...] = ()
    if blocks is not None and in_pieces:
        if by_mindspore:
            bounds = tuple(split_blocks(blocks.costs, stages=mesh.pipeline))
        elif mesh.pipeline > 1:
            bounds = tuple(fold_blocks(blocks.costs, stages=mesh.pipeline, skips=blocks.skips))
        else:
            bounds = tuple(range(len(blocks.costs) + 1))
    # A fixed order sets the number of micro-batches itself, where the ranks divide it.
    shards = None
    if summation_shards is not None:
        possible = math.gcd(summation_shards, settings.global_batch)
        if possible % mesh.data == 0:
            shards, micro_batches = possible, possible // mesh.data
    # The engine follows. A rank with the whole network recomputes by running graphs of one block:
    # in one graph the CPU backend computes again as soon as it can, which saves no memory.
    engine: Engine = "one graph" if micro_batches == 1 else "accumulating"
    if shards is not None:
        engine = "fixed order"
    elif by_mindspore:
        engine = "mindspore"
    elif mesh.pipeline > 1:
        engine = "folded"
    elif recompute:
        engine = "block by block"
    return Parallelism(
        mesh=mesh,
        micro_batches=micro_batches,
        engine=engine,
        bounds=bounds,
        # Pieces keep only their inputs already; within the blocks of a stage it saves once more.
        recomputes_in_blocks=recompute and mesh.pipeline > 1,
        # State is shared out over ranks that hold the same weights: the data axis.
        shares_optimizer=parallel.shard_optimizer and mesh.data > 1,
        summation_shards=shards,
    )


def parallelize_denoiser(config: Config, *, ranks: int) -> Parallelism:
    """Return how ranks train the denoiser of a configuration.

    Raises:
        UserError: see `parallelize`.
    """
    return parallelize(
        settings=config.train_diffusion,
        ranks=ranks,
        parallel=config.parallel,
        blocks=denoiser_blocks(config),
        recompute=config.denoiser.recompute,
    )


def denoiser_blocks(config: Config) -> Blocks:
    """Return what the denoiser can be cut into."""
    costs = DenoiserCost(config)
    return Blocks(
        costs=[costs.cost(block).operations for block in costs.blocks],
        skips=unet_skips(config.denoiser.depths),
        can_be_cut=config.denoiser.global_vectors == 0,
    )


def _check_mindspore(mesh: Mesh, micro_batches: int, *, settings: Training) -> None:
    """Refuse what MindSpore's own pipeline cannot run.

    Raises:
        UserError: one stage, no NPU, a data axis, or fewer micro-batches than stages.
    """
    instead = "or set parallel.pipeline_engine to folded, which runs everywhere"
    if mesh.pipeline == 1:
        raise UserError(
            "parallel.pipeline_engine is mindspore and parallel.pipeline is 1: give it a stage a "
            f"rank, {instead}"
        )
    if not has_npu():
        raise UserError(
            f"MindSpore's own pipeline compiles for Ascend only, and this host has no NPU "
            f"(/dev/davinci*): run it on one, {instead}"
        )
    if mesh.data > 1:
        raise UserError(
            f"MindSpore's own pipeline has one rank a stage here: set parallel.pipeline to "
            f"{mesh.size}, the number of ranks, {instead}"
        )
    if micro_batches < mesh.pipeline:
        raise UserError(
            f"MindSpore's own pipeline needs a sample a stage: raise train_diffusion.global_batch "
            f"({settings.global_batch}) to {mesh.pipeline} or more, {instead}"
        )
