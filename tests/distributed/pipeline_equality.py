"""Train a small denoiser on a mesh and save what came of it; run alone or under msrun.

    python tests/distributed/pipeline_equality.py FOLDER 1x1
    msrun --worker_num=4 --local_worker_num=4 --master_port=21900 --join=True \
        python tests/distributed/pipeline_equality.py FOLDER 2x2 accumulated sharded

Every run, whatever its mesh (data x pipeline) and variant, writes FOLDER/MESH_VARIANT.npz with the
same loss, weights and averages up to rounding. `--depth` is the blocks of each of the two levels.
Graphs are kept in FOLDER/graphs. mesh_equality.py runs all of them and compares.
"""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hpc.environment import prepare_environment

prepare_environment()

import mindspore as ms  # noqa: E402
from compiler_stand_in import replace_compiler  # noqa: E402

from hpc.cluster.mesh import Mesh  # noqa: E402
from hpc.cluster.runtime import Runtime, start_runtime  # noqa: E402
from hpc.pipeline.engine import Passes, PipelineEngine  # noqa: E402
from hpc.pipeline.folded import FoldedEngine  # noqa: E402
from hpc.pipeline.mindspore import MindSporeEngine  # noqa: E402
from hpc.train.compile_cache import Compiler  # noqa: E402
from hpc.train.step import TrainStep, train_step  # noqa: E402
from hpc.train.zero import shard_over_data  # noqa: E402
from prediff.diffusion import DiffusionLoss, noise_schedule  # noqa: E402
from prediff.diffusion.pipelined_loss import (  # noqa: E402
    chunks_in_a_row,
    chunks_of_rank,
    chunks_of_single_blocks,
)
from prediff.graph_cache import graph_cache  # noqa: E402
from prediff.models.earthformer_unet import EarthformerUNet  # noqa: E402
from prediff.training.denoiser_step import evaluation_of  # noqa: E402

GRID = {"height": 4, "width": 4, "latent_channels": 2}
# A large eps: gradients of biases before a norm are rounding, which AdamW would blow up.
OPTIMIZER = {"weight_decay": 0.01, "max_norm": 0.5, "ema_decay": 0.9, "eps": 1e-2}
SCALARS = ("mean_squared_error", "variational_term")
GLOBAL_BATCH = 8


@dataclass(frozen=True)
class Variant:
    """How a step is made, which must not change what it gives."""

    is_accumulated: bool = True
    """In micro-batches of one sample; else in one."""
    recompute: bool = False
    is_sharded: bool = False
    by_mindspore: bool = False
    """Around MindSpore's own pipeline, with a stand-in for its compiler."""

    def fits(self, data: int, pipeline: int) -> bool:
        """Whether a mesh of these axes has this variant."""
        if self.is_sharded:
            return data > 1
        return not self.by_mindspore or (data == 1 and pipeline > 1)


VARIANTS = {
    "whole": Variant(is_accumulated=False),
    "accumulated": Variant(),
    "recomputed": Variant(recompute=True),
    "sharded": Variant(is_sharded=True),
    "by_mindspore": Variant(by_mindspore=True),
}


def make_loss(*, depth: int, recompute: bool) -> DiffusionLoss:
    denoiser = EarthformerUNet(
        context_length=1,
        forecast_length=2,
        base_width=8,
        depths=[depth, depth],
        num_heads=2,
        pattern="full",
        attention_dropout=0.1,
        projection_dropout=0.1,
        feed_forward_dropout=0.1,
        time_block_dropout=0.1,
        hierarchical_positions=True,
        backend="reference",
        recompute=recompute,
        **GRID,
    )
    loss = DiffusionLoss(
        denoiser, schedule=noise_schedule(name="linear", num_steps=50), vlb_weight=1e-3
    )
    random = np.random.default_rng(0)
    for parameter in trained(loss).values():  # no zeros, so that gradients reach every weight
        values = 0.2 * random.standard_normal(parameter.shape) + parameter.asnumpy()
        parameter.set_data(ms.Tensor(values.astype(np.float32)))
    loss.set_train(True)
    return loss


def trained(loss: DiffusionLoss) -> dict[str, ms.Parameter]:
    return {name: p for name, p in loss.parameters_and_names() if p.requires_grad}


def batch(step: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(step)
    clean = random.standard_normal((GLOBAL_BATCH, 2, 4, 4, 2), np.float32)
    noise = random.standard_normal(clean.shape, np.float32)
    condition = random.standard_normal((GLOBAL_BATCH, 1, 4, 4, 2), np.float32)
    noise_step = random.integers(50, size=GLOBAL_BATCH).astype(np.int32)
    key = random.integers(2**31 - 1, size=GLOBAL_BATCH).astype(np.int32)
    if step == 1:
        clean[3, 0, 0, 0, 0] = np.inf  # a bad sample, which must change no weight on any stage
    return clean, noise, noise_step, condition, key


def make_step(
    runtime: Runtime,
    mesh: Mesh,
    loss: DiffusionLoss,
    *,
    depth: int,
    variant: Variant,
    compiler: Compiler,
):
    micro_batches = GLOBAL_BATCH // mesh.data if variant.is_accumulated else 1
    if variant.by_mindspore:
        micro_batches = 2  # all of them in one graph
    shard = shard_over_data(runtime, mesh) if variant.is_sharded else None
    if mesh.pipeline == 1 and not variant.recompute:
        return train_step(
            loss,
            trained(loss),
            scalar_names=SCALARS,
            accumulation=micro_batches,
            data_group=runtime.data_group(mesh) if shard is None else shard.group,
            data_size=mesh.data,
            shard=shard,
            **OPTIMIZER,
        )
    common = {"runtime": runtime, "mesh": mesh, "micro_batches": micro_batches}
    costs = [1.0] * 4 * depth
    _, stage = mesh.coordinates(runtime.place.rank)
    passes: Passes
    if variant.by_mindspore:
        again = partial(make_loss, depth=depth, recompute=False)
        row = chunks_in_a_row(again, stages=mesh.pipeline, costs=costs)
        passes = by_mindspore = MindSporeEngine(row, **common)
        replace_compiler(by_mindspore, row, compiler)
    elif mesh.pipeline == 1:
        passes = FoldedEngine(chunks_of_single_blocks(loss), **common)
    else:
        folded = chunks_of_rank(loss, stages=mesh.pipeline, stage=stage, costs=costs)
        passes = FoldedEngine(folded, **common)
    engine = PipelineEngine(passes, scalars=len(SCALARS), shard=shard, bucket_bytes=8192)
    return TrainStep(engine, scalar_names=SCALARS, **OPTIMIZER)


def run(
    runtime: Runtime,
    mesh: Mesh,
    *,
    depth: int,
    steps: int,
    variant: Variant,
    compiler: Compiler,
):
    loss = make_loss(depth=depth, recompute=variant.recompute and mesh.pipeline > 1)
    step = make_step(runtime, mesh, loss, depth=depth, variant=variant, compiler=compiler)
    data_rank, _ = mesh.coordinates(runtime.place.rank)
    share = GLOBAL_BATCH // mesh.data
    part = slice(data_rank * share, (data_rank + 1) * share)
    step.compile(*(array[part] for array in batch(0)), compiler=compiler)
    reports = []
    for number in range(steps):
        inputs = [array[part] for array in batch(number)]
        vote = number == 2 and runtime.is_first
        reports.append(step(*inputs, learning_rate=0.01, stop_vote=vote).read())
    state = step.export()
    step.load(state)  # taking it over must change nothing
    again = step.export()
    found = {f"report/{n}/{name}": v for n, r in enumerate(reports) for name, v in r.items()}
    inputs = [array[part] for array in batch(0)]
    evaluation = evaluation_of(loss, step)
    evaluation.compile(*inputs, compiler=compiler)
    scores = evaluation(*inputs)
    found["evaluation"] = np.mean(runtime.all_gather_object(scores), axis=0)
    for kind in ("model", "optimizer", "ema"):
        for name, array in getattr(state, kind).items():
            found[f"{kind}/{name}"] = array
            np.testing.assert_array_equal(array, getattr(again, kind)[name])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("mesh")
    parser.add_argument("variants", nargs="*", default=["accumulated"], choices=VARIANTS)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu", choices=("cpu", "npu"))
    options = parser.parse_args()
    data, pipeline = map(int, options.mesh.split("x"))
    mesh = Mesh(data=data, pipeline=pipeline)
    with start_runtime(device=options.device) as runtime:
        assert runtime.place.size == mesh.size, "start as many ranks as the mesh has"
        graphs = graph_cache(runtime, folder=options.folder / "graphs")
        for name in options.variants:
            found = run(
                runtime,
                mesh,
                depth=options.depth,
                steps=options.steps,
                variant=VARIANTS[name],
                compiler=graphs.compile,
            )
            if runtime.is_first:
                np.savez(options.folder / f"{options.mesh}_{name}.npz", **found)


if __name__ == "__main__":
    main()
