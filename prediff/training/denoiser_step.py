"""The step that trains the denoiser: whole on each rank, or spread over a pipeline."""

from functools import partial
from typing import Any

import numpy as np

from hpc.cluster.runtime import ALONE, Runtime
from hpc.pipeline.engine import Passes, PipelineEngine
from hpc.pipeline.folded import FoldedEngine
from hpc.pipeline.mindspore import MindSporeEngine
from hpc.train.compile_cache import Compiler
from hpc.train.step import TrainStep
from prediff.config import Config
from prediff.diffusion import DiffusionLoss
from prediff.diffusion.pipelined_loss import (
    chunks_in_a_row,
    chunks_of_rank,
    chunks_of_single_blocks,
)
from prediff.training.diffusion_network import build_loss
from prediff.training.parallel_step import optimizer_shard, whole_network_step
from prediff.training.parallelize import ON_ONE_PROCESS, Parallelism, denoiser_blocks
from prediff.training.validation import Evaluation, LossEvaluation

SCALAR_NAMES = ("mean_squared_error", "variational_term")


def build_step(
    loss: DiffusionLoss,
    config: Config,
    *,
    runtime: Runtime = ALONE,
    parallelism: Parallelism = ON_ONE_PROCESS,
) -> TrainStep:
    """Return the step that trains a denoiser.

    With a pipeline the loss keeps only this rank's blocks and cannot run by itself any more;
    MindSpore's own is made of other losses, with the starting weights of the configuration.

    Args:
        loss: with the network to train, from `build_loss`.
        runtime: the ranks; by default one process.
        parallelism: what they share.
    """
    settings = config.train_diffusion
    options: dict[str, Any] = {
        "scalar_names": SCALAR_NAMES,
        "weight_decay": settings.weight_decay,
        "max_norm": settings.gradient_clip,
        "ema_decay": settings.ema_decay,
    }
    loss.set_train(True)
    if parallelism.engine in ("one graph", "accumulating"):
        trained = {name: p for name, p in loss.parameters_and_names() if p.requires_grad}
        return whole_network_step(loss, trained, parallelism, runtime, **options)
    engine = PipelineEngine(
        _passes(loss, config, runtime=runtime, parallelism=parallelism),
        scalars=len(SCALAR_NAMES),
        shard=optimizer_shard(parallelism, runtime),
    )
    return TrainStep(engine, **options)


def _passes(
    loss: DiffusionLoss, config: Config, *, runtime: Runtime, parallelism: Parallelism
) -> Passes:
    mesh, costs = parallelism.mesh, denoiser_blocks(config).costs
    common: dict[str, Any] = {
        "runtime": runtime,
        "mesh": mesh,
        "micro_batches": parallelism.micro_batches,
    }
    match parallelism.engine:
        case "block by block":
            return FoldedEngine(chunks_of_single_blocks(loss), **common)
        case "mindspore":
            again = partial(build_loss, config, recompute=parallelism.recomputes_in_blocks)
            row = chunks_in_a_row(again, stages=mesh.pipeline, costs=costs)
            return MindSporeEngine(row, **common)
        case _:
            _, stage = mesh.coordinates(runtime.place.rank)
            chunks = chunks_of_rank(loss, stages=mesh.pipeline, stage=stage, costs=costs)
            return FoldedEngine(chunks, **common)


class PipelineEvaluation:
    """Evaluates on all ranks of a pipeline, which get the same inputs, of a step's shapes."""

    def __init__(self, engine: PipelineEngine) -> None:
        self._engine = engine

    def compile(self, *inputs: np.ndarray, compiler: Compiler) -> None:
        self._engine.passes.compile_evaluation(*inputs, compiler=compiler)

    def __call__(self, *inputs: np.ndarray) -> list[float]:
        return self._engine.evaluate(*inputs)


def evaluation_of(loss: DiffusionLoss, step: TrainStep) -> Evaluation:
    """Return what evaluates the weights that a step, built from this loss, holds."""
    if isinstance(step.engine, PipelineEngine):
        return PipelineEvaluation(step.engine)
    return LossEvaluation(loss)
