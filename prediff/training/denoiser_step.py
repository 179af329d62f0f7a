"""The step that trains the denoiser: whole on each rank, or spread over a pipeline."""

from functools import partial
from typing import Any

import numpy as np

from hpc.cluster.mesh import Mesh, make_mesh
from hpc.cluster.runtime import ALONE, Runtime
from hpc.environment import has_npu
from hpc.errors import UserError
from hpc.pipeline.engine import Engine
from hpc.pipeline.folded import FoldedEngine
from hpc.pipeline.mindspore import MindSporeEngine
from hpc.pipeline.partition import fold_blocks, split_blocks
from hpc.pipeline.schedule import micro_batches_of
from hpc.pipeline.step import PipelineTrainStep
from hpc.train.compile_cache import Compiler
from hpc.train.step import TrainStep
from hpc.train.zero import shard_over_data
from prediff.config import Config
from prediff.diffusion import DiffusionLoss
from prediff.diffusion.pipelined_loss import (
    chunks_in_a_row,
    chunks_of_rank,
    chunks_of_single_blocks,
)
from prediff.models.denoiser_cost import DenoiserCost
from prediff.models.unet_chunks import unet_skips
from prediff.training.diffusion_network import build_loss
from prediff.training.validation import Evaluation, LossEvaluation

SCALAR_NAMES = ("mean_squared_error", "variational_term")
DenoiserStep = TrainStep | PipelineTrainStep


def denoiser_mesh(config: Config, *, ranks: int) -> Mesh:
    """Return the mesh on which a number of ranks train the denoiser.

    Raises:
        UserError: the ranks, the global batch or the blocks cannot be cut so; says what works.
    """
    mesh = make_mesh(
        ranks=ranks,
        pipeline=config.parallel.pipeline,
        global_batch=config.train_diffusion.global_batch,
    )
    if config.denoiser.global_vectors and (mesh.pipeline > 1 or config.denoiser.recompute):
        raise UserError(
            "a pipeline does not carry global vectors, nor does recomputation: set denoiser."
            "global_vectors to 0, or parallel.pipeline to 1 and denoiser.recompute to false"
        )
    if config.parallel.pipeline_engine == "mindspore":
        _check_mindspore_engine(config, mesh)
        split_blocks(block_costs(config), stages=mesh.pipeline)
    elif mesh.pipeline > 1:
        skips = unet_skips(config.denoiser.depths)
        fold_blocks(block_costs(config), stages=mesh.pipeline, skips=skips)
    return mesh


def _check_mindspore_engine(config: Config, mesh: Mesh) -> None:
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
    if _micro_batches(config, mesh) < mesh.pipeline:
        raise UserError(
            f"MindSpore's own pipeline needs a sample a stage: raise train_diffusion.global_batch "
            f"({config.train_diffusion.global_batch}) to {mesh.pipeline} or more, {instead}"
        )


def _micro_batches(config: Config, mesh: Mesh) -> int:
    settings = config.train_diffusion
    return micro_batches_of(
        samples=settings.global_batch // mesh.data,
        largest=settings.micro_batch,
        stages=mesh.pipeline,
    )


def block_costs(config: Config) -> list[float]:
    """Return the operations of each block, by which a pipeline is cut."""
    costs = DenoiserCost(config)
    return [costs.cost(block).operations for block in costs.blocks]


def build_step(
    loss: DiffusionLoss, config: Config, *, runtime: Runtime = ALONE, mesh: Mesh | None = None
) -> DenoiserStep:
    """Return the step that trains a denoiser.

    With a pipeline the loss keeps only this rank's blocks and cannot run by itself any more;
    MindSpore's own is made of other losses, with the starting weights of the configuration. With
    `denoiser.recompute` a rank that holds all of them runs graphs of one block each: in one graph
    the CPU backend computes again as soon as it can, which saves no memory.

    Args:
        loss: with the network to train, from `build_loss`.
        runtime: the ranks; by default one process.
        mesh: their order.
    """
    mesh, settings = mesh or Mesh(), config.train_diffusion
    is_sharded = config.parallel.shard_optimizer and mesh.data > 1
    shard = shard_over_data(runtime, mesh) if is_sharded else None
    loss.set_train(True)
    if mesh.pipeline == 1 and not config.denoiser.recompute:
        return TrainStep(
            loss,
            {name: p for name, p in loss.parameters_and_names() if p.requires_grad},
            scalar_names=SCALAR_NAMES,
            accumulation=_micro_batches(config, mesh),
            data_group=runtime.data_group(mesh) if shard is None else shard.group,
            data_size=mesh.data,
            shard=shard,
            weight_decay=settings.weight_decay,
            max_norm=settings.gradient_clip,
            ema_decay=settings.ema_decay,
        )
    return PipelineTrainStep(
        _engine(loss, config, runtime=runtime, mesh=mesh),
        scalar_names=SCALAR_NAMES,
        shard=shard,
        weight_decay=settings.weight_decay,
        max_norm=settings.gradient_clip,
        ema_decay=settings.ema_decay,
    )


def _engine(loss: DiffusionLoss, config: Config, *, runtime: Runtime, mesh: Mesh) -> Engine:
    stages, costs = mesh.pipeline, block_costs(config)
    common: dict[str, Any] = {
        "runtime": runtime,
        "mesh": mesh,
        "micro_batches": _micro_batches(config, mesh),
    }
    if stages == 1:
        return FoldedEngine(chunks_of_single_blocks(loss), **common)
    if config.parallel.pipeline_engine == "mindspore":
        row = chunks_in_a_row(partial(build_loss, config), stages=stages, costs=costs)
        return MindSporeEngine(row, **common)
    _, stage = mesh.coordinates(runtime.place.rank)
    chunks = chunks_of_rank(loss, stages=stages, stage=stage, costs=costs)
    return FoldedEngine(chunks, **common)


class PipelineEvaluation:
    """Evaluates on all ranks of a pipeline, which get the same inputs, of a step's shapes."""

    def __init__(self, step: PipelineTrainStep) -> None:
        self._step = step

    def compile(self, *inputs: np.ndarray, compiler: Compiler) -> None:
        self._step.compile_evaluation(*inputs, compiler=compiler)

    def __call__(self, *inputs: np.ndarray) -> list[float]:
        return list(self._step.evaluate(*inputs).values())


def evaluation_of(loss: DiffusionLoss, step: DenoiserStep) -> Evaluation:
    """Return what evaluates the weights that a step, built from this loss, holds."""
    return PipelineEvaluation(step) if isinstance(step, PipelineTrainStep) else LossEvaluation(loss)
