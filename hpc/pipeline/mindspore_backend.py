"""MindSpore's own pipeline parallelism behind the same face. NOT YET RUN: it needs Ascend.

`AutoParallel.pipeline` compiles only with the Ascend backend ("Invalid backend: CPU" elsewhere),
so nothing in this file has run. It knows one chunk a stage in a row and no folding: skips are
shipped between stages by the compiler. It is here for comparison on hardware.
"""

from collections.abc import Mapping

from mindspore import nn
from mindspore.parallel.auto_parallel import AutoParallel
from mindspore.parallel.nn import Pipeline

from hpc.errors import UserError
from hpc.runtime import Runtime


def pipelined_by_mindspore(
    train: nn.Cell,
    network: nn.Cell,
    *,
    runtime: Runtime,
    stages: int,
    micro_batches: int,
    stage_of: Mapping[str, int],
) -> nn.Cell:
    """Return the training Cell as MindSpore's compiler runs it in 1F1B. Not yet run.

    Args:
        train: Cell that makes a step, around what `micro_batched` returns.
        network: the loss Cell.
        runtime: the ranks.
        stages: of the pipeline; its ranks are contiguous.
        micro_batches: of a step.
        stage_of: stage of each block of the network, by the name of its Cell.

    Raises:
        UserError: not on Ascend, or fewer micro-batches than stages.
    """
    if runtime.device != "Ascend":
        raise UserError(
            f"MindSpore's own pipeline does not compile for {runtime.device}: it needs Ascend; "
            "use the folded pipeline, which runs everywhere"
        )
    if micro_batches < stages:
        raise UserError(
            "MindSpore's pipeline needs as many micro-batches as stages: "
            f"{micro_batches} < {stages}"
        )
    unknown = set(stage_of) - {name for name, _ in network.cells_and_names()}
    assert not unknown, f"no such Cells: {sorted(unknown)}"
    parallel = AutoParallel(train, parallel_mode="semi_auto")
    parallel.pipeline(stages=stages, scheduler="1f1b")
    return parallel


def micro_batched(network: nn.Cell, *, micro_batches: int, stage_of: Mapping[str, int]) -> nn.Cell:
    """Return the loss Cell with its batch cut into micro-batches and its Cells put on stages."""
    return Pipeline(network, micro_batches, stage_config=dict(stage_of))
