"""The step of a network as `prediff.training.parallelize` laid it out: here MindSpore begins."""

from collections.abc import Mapping
from typing import Any

from mindspore import Parameter, nn

from hpc.cluster.runtime import Runtime
from hpc.train.step import TrainStep, train_step
from hpc.train.tree_sum import summation_tree
from hpc.train.zero import OptimizerShard, shard_over_data
from prediff.training.parallelize import Parallelism


def whole_network_step(
    loss: nn.Cell,
    parameters: Mapping[str, Parameter],
    parallelism: Parallelism,
    runtime: Runtime,
    **options: Any,
) -> TrainStep:
    """Return the step of a network that every rank holds; the options are those of `train_step`."""
    mesh, shards = parallelism.mesh, parallelism.summation_shards
    return train_step(
        loss,
        parameters,
        accumulation=parallelism.micro_batches,
        data_group=runtime.data_group(mesh),
        data_size=mesh.data,
        shard=optimizer_shard(parallelism, runtime),
        tree=None if shards is None else summation_tree(runtime, mesh, shards=shards),
        **options,
    )


def optimizer_shard(parallelism: Parallelism, runtime: Runtime) -> OptimizerShard | None:
    """Return this rank's part of the optimizer's state, or None for all of it."""
    if not parallelism.shares_optimizer:
        return None
    return shard_over_data(runtime, parallelism.mesh)
