"""MindSpore's own pipeline as an engine. NOT YET RUN ON HARDWARE.

`AutoParallel.pipeline` cuts the graph of a whole step by stages and ships skips between them. It
compiles for Ascend only. What can be checked without an NPU is: the front end of MindSpore's
compiler cuts the step for every rank, and the ranks' messages match
(tests/prediff/training/test_mindspore_engine.py). hpc/pipeline/mindspore_graphs.py says what it
asks of a network.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from mindspore import Parameter, Tensor, nn
from mindspore.parallel.auto_parallel import AutoParallel
from mindspore.parallel.nn import Pipeline

from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.pipeline.chunk import Chunk
from hpc.pipeline.mindspore_graphs import AccumulatedGradients, Collect, Staged
from hpc.pipeline.schedule import plain_placement
from hpc.pipeline.stage_parameters import StageParameters
from hpc.train.buckets import Flatten
from hpc.train.compile_cache import Compiler
from hpc.train.engines import as_tensor
from hpc.train.update import Sums
from hpc.train.without_dropout import without_dropout


class MindSporeEngine:
    """See `hpc.pipeline.engine.Passes`. Every rank has the whole network in its host's memory.

    Args:
        chunks: all pieces, in order; stage s runs piece s. They share no parameter: MindSpore would
            send it from stage to stage, in training only. The first input of the first one is
            float32.
        runtime: the ranks.
        mesh: their order.
        micro_batches: of a step.
    """

    def __init__(
        self, chunks: Sequence[Chunk], *, runtime: Runtime, mesh: Mesh, micro_batches: int
    ):
        assert len(chunks) == mesh.pipeline
        parameters = [p for chunk in chunks for p in chunk.parameters.values()]
        assert len({p.name for p in parameters}) == len(parameters), "stages share a parameter"
        self.runtime, self.mesh, self.micro_batches = runtime, mesh, micro_batches
        self.placement = plain_placement(mesh.pipeline)
        _, self.stage = mesh.coordinates(runtime.place.rank)
        self.held: Mapping[int, Mapping[str, Parameter]] = {
            self.stage: chunks[self.stage].parameters
        }
        self._staged = Staged(chunks)
        self._staged.set_train(True)
        micro_batched = Pipeline(self._staged, micro_batches)
        self._gradients = AccumulatedGradients(micro_batched, parameters)
        self._train = _by_mindspore(self._gradients, stages=mesh.pipeline)
        self._look = _by_mindspore(micro_batched, stages=mesh.pipeline)
        self._compiles_training = False

    def connect(self, parameters: StageParameters, sums: Sums) -> None:
        held, gradient_of = self.held[self.stage], self._gradients.accumulated_of
        gradients = [gradient_of(held[name]) for name in parameters.layout.shapes]
        unused = [gradient_of(self._staged.start.one)] if self.stage == 0 else []
        self._collect = Collect(
            gradients,
            unused,
            pack=Flatten(parameters.layout),
            sums=sums.buckets,
            scalar_sums=sums.scalars,
        )

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        self._compiles_training = True
        # Not by way of a cache of graphs, which does not know what MindSpore cuts.
        self._train.compile(*map(as_tensor, inputs))
        compiler(self._collect, Tensor(np.zeros(self._collect.scalar_sums.shape, np.float32)))

    def compile_evaluation(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        assert self._compiles_training, "training is compiled first"
        with without_dropout(self._staged):
            self._look.compile(*map(as_tensor, inputs))

    def run(self, *inputs: np.ndarray | Tensor) -> None:
        self._collect(self._train(*map(as_tensor, inputs)))

    def evaluate(self, *inputs: np.ndarray | Tensor) -> list[float]:
        with without_dropout(self._staged):
            values = self._look(*map(as_tensor, inputs))
        if self.stage < self.mesh.pipeline - 1:
            return []
        return (values.asnumpy() / self.micro_batches).tolist()


def _by_mindspore(cell: nn.Cell, *, stages: int) -> AutoParallel:
    parallel = AutoParallel(cell, parallel_mode="semi_auto")
    parallel.pipeline(stages=stages, scheduler="1f1b")
    return parallel
