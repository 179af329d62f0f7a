"""What runs a pipeline's forward and backward passes: the contract of its two engines.

`hpc.pipeline.folded` is ours and runs everywhere; `hpc.pipeline.mindspore` hands the work to
MindSpore's compiler. The rest of a step, from the sums on, is the same for both
(`hpc.pipeline.step`).
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from mindspore import Parameter, Tensor

from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.pipeline.actions import Placement
from hpc.pipeline.stage_parameters import Share
from hpc.train.compile_cache import Compiler


class Engine(Protocol):
    """One rank's part of a pipeline."""

    runtime: Runtime
    mesh: Mesh
    micro_batches: int
    """Of a step; each input's first axis is cut into as many parts."""
    placement: Placement
    """The rank of each chunk."""
    held: Mapping[int, Mapping[str, Parameter]]
    """What this rank's chunks train, by chunk and canonical name."""

    def connect(self, share: Share, sums: Sequence[Parameter], scalar_sums: Parameter) -> None:
        """Take the buckets that `run` adds to; called once, before anything else.

        Args:
            share: what this rank holds, as buckets.
            sums: the gradients of those buckets `[R, 1024]`.
            scalar_sums: `[1 + scalars]`, loss and scalars, which only the last chunk's rank fills.
        """

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        """Compile what `run` runs, on all ranks at once."""

    def compile_evaluation(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        """Compile what `evaluate` runs, on all ranks at once."""

    def run(self, *inputs: np.ndarray | Tensor) -> None:
        """Add every micro-batch's gradients, loss and scalars to the sums."""

    def evaluate(self, *inputs: np.ndarray | Tensor) -> list[float]:
        """Return loss and scalars without dropout on the last chunk's rank; elsewhere nothing."""
