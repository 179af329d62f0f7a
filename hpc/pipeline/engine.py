"""A network in pieces on the ranks of a pipeline, as an engine of a training step.

`hpc.pipeline.folded` runs the passes everywhere; `hpc.pipeline.mindspore` hands them to MindSpore's
compiler. What is the same for both is here: who holds what, the sums, and the reduction.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from mindspore import Parameter, Tensor

from hpc.cluster.gather import gather_arrays, gather_in_group
from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.pipeline.actions import Placement
from hpc.pipeline.reduction import Groups, SumOverPipeline
from hpc.pipeline.stage_parameters import StageParameters, make_stage_parameters
from hpc.train.compile_cache import Compiler
from hpc.train.engines import blank_control
from hpc.train.update import Sums, Update, UpdateFromSums
from hpc.train.zero import OptimizerShard


class Passes(Protocol):
    """The forward and backward passes of one rank of a pipeline."""

    runtime: Runtime
    mesh: Mesh
    micro_batches: int
    """Of a step; each input's first axis is cut into as many parts."""
    placement: Placement
    """The rank of each chunk."""
    held: Mapping[int, Mapping[str, Parameter]]
    """What this rank's chunks train, by chunk and canonical name."""

    def connect(self, parameters: StageParameters, sums: Sums) -> None:
        """Take the sums that `run` adds to; called once, before anything else.

        Args:
            parameters: what this rank holds, as buckets.
            sums: of those buckets; only the last chunk's rank fills the scalars.
        """

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        """Compile what `run` runs, on all ranks at once."""

    def compile_evaluation(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        """Compile what `evaluate` runs, on all ranks at once."""

    def run(self, *inputs: np.ndarray | Tensor) -> None:
        """Add every micro-batch's gradients, loss and scalars to the sums."""

    def evaluate(self, *inputs: np.ndarray | Tensor) -> list[float]:
        """Return loss and scalars without dropout on the last chunk's rank; elsewhere nothing."""


class PipelineEngine:
    """See `hpc.train.engines.Engine`. Every rank of a pipeline gets the same inputs.

    Args:
        passes: of this rank's pieces.
        scalars: of the last chunk, beside the loss.
        shard: this rank's part of the optimizer's state of its stage, of all data ranks; None
            keeps the whole state on each.
        bucket_bytes: size of the gradient buckets.
    """

    def __init__(
        self,
        passes: Passes,
        *,
        scalars: int,
        shard: OptimizerShard | None = None,
        bucket_bytes: int = 64 << 20,
    ):
        runtime, mesh = passes.runtime, passes.mesh
        assert shard is None or shard.size == mesh.data, "the data ranks share the state out"
        _, stage = mesh.coordinates(runtime.place.rank)
        self.passes, self.shard = passes, shard
        self.parts, self.ranks = passes.micro_batches * mesh.data, mesh.size
        self._group, self._size = runtime.pipeline_group(mesh), mesh.pipeline
        self._held = make_stage_parameters(
            self._shapes_of_all_chunks(),
            placement=passes.placement,
            rank=stage,
            bucket_bytes=bucket_bytes,
            row_multiple=1 if shard is None else shard.size,
        )
        self.layout = self._held.layout
        mine = {name: p for held in passes.held.values() for name, p in held.items()}
        self.parameters: Mapping[str, Parameter] = {name: mine[name] for name in self.layout.shapes}
        buckets = range(len(self.layout.buckets))
        self.reduction = SumOverPipeline(
            Groups(
                world=runtime.world_group,
                data=runtime.data_group(mesh) if shard is None else shard.group,
                data_size=mesh.data,
                holders=_holder_groups(
                    [self._held.holders(b) for b in buckets],
                    ranks=mesh.pipeline_group(runtime.place.rank),
                    runtime=runtime,
                ),
            ),
            owned=[self._held.is_owned(b) for b in buckets],
            shard=shard,
        )
        self._sums = Sums(self.layout, scalars=1 + scalars)
        passes.connect(self._held, self._sums)

    def connect(self, update: Update) -> None:
        self._apply = UpdateFromSums(update, self._sums)

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        """Compile one chunk after the other; the first step would do it along the pipeline."""
        self.passes.compile(*inputs, compiler=compiler)
        compiler(self._apply, blank_control())

    def step(self, control: Tensor, *inputs: np.ndarray | Tensor) -> Tensor:
        self.passes.run(*inputs)
        return self._apply(control)

    def evaluate(self, *inputs: np.ndarray | Tensor) -> list[float]:
        """Return loss and scalars of a batch without dropout, on every rank of this pipeline.

        All ranks of the pipeline call it with the same inputs, of the sizes that a step takes.
        """
        return next(part for part in self._gather(self.passes.evaluate(*inputs)) if part)

    def collect(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return arrays of all stages; names end in ``/PARAMETER`` or are parameters."""
        owned = set(self._held.owned_names)
        mine = {name: array for name, array in arrays.items() if name.split("/")[-1] in owned}
        return gather_arrays(mine, group=self._group, size=self._size)

    def _shapes_of_all_chunks(self) -> list[dict[str, tuple[int, ...]]]:
        mine = {
            c: {name: p.shape for name, p in parameters.items()}
            for c, parameters in self.passes.held.items()
        }
        everyone: dict[int, dict[str, tuple[int, ...]]] = {}
        for part in self._gather(mine):
            everyone.update(part)
        chunks = sorted(everyone)
        assert chunks == list(range(len(self.passes.placement))), "every chunk has one holder"
        return [everyone[c] for c in chunks]

    def _gather(self, value: Any) -> list[Any]:
        return gather_in_group(value, group=self._group, size=self._size)


def _holder_groups(
    holders: Sequence[tuple[int, ...]], *, ranks: Sequence[int], runtime: Runtime
) -> tuple[str | None, ...]:
    """Return the group of each bucket's holders; ranks make common groups in the same order."""
    names = {
        stages: runtime.make_group(
            f"tied_{'_'.join(map(str, stages))}", [ranks[stage] for stage in stages]
        )
        for stages in sorted(set(holders))
    }
    return tuple(names[stages] for stages in holders)
