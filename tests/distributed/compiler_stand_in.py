"""What MindSpore's compiler makes of a pipeline on Ascend, computed on the CPU instead.

The compiler itself cuts graphs for Ascend only. Here every rank computes the whole network and
keeps what its stage would have found.
"""

from collections.abc import Sequence

import numpy as np
from mindspore import Tensor, nn

from hpc.cluster.gather import gather_arrays
from hpc.pipeline.chunk import Chunk
from hpc.pipeline.mindspore import MindSporeEngine
from hpc.train.compile_cache import Compiler
from hpc.train.optim import set_arrays


def replace_compiler(engine: MindSporeEngine, chunks: Sequence[Chunk], compiler: Compiler) -> None:
    """Let an engine run where MindSpore's own pipeline does not compile."""
    stand_in = _StandIn(engine, chunks, compiler)
    engine._train = stand_in
    engine._look = stand_in.evaluating


class _Gradients(nn.Cell):
    def __init__(self, engine: MindSporeEngine):
        super().__init__(auto_prefix=False)
        self.network = engine._look.network  # a loaded graph takes its weights from its Cell
        self.differentiate = engine._gradients.differentiate

    def construct(self, *inputs):
        return self.differentiate(*inputs)


class _StandIn:
    def __init__(
        self, engine: MindSporeEngine, chunks: Sequence[Chunk], compiler: Compiler
    ) -> None:
        self._engine, self._chunks, self.compiler = engine, chunks, compiler
        self._gradients = _Gradients(engine)
        self.evaluating = _Evaluating(self, engine._look.network)

    def compile(self, *inputs: Tensor) -> None:
        self.compiler(self._gradients, *inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Accumulate this stage's gradients; return loss and scalars on the last stage."""
        self.fetch_weights()
        values, gradients = self._gradients(*inputs)
        stage, made = self._engine.stage, self._engine._gradients
        of_stage = {id(p) for p in self._chunks[stage].parameters.values()}
        for weight, target, gradient in zip(made.weights, made.accumulated, gradients, strict=True):
            if id(weight) in of_stage:
                target.set_data(Tensor(target.asnumpy() + gradient.asnumpy()))
        if stage == len(self._chunks) - 1:
            return values
        return Tensor(np.zeros(values.shape, np.float32))

    def fetch_weights(self) -> None:
        """Copy the weights of the other stages, which only they have changed."""
        engine = self._engine
        mine = {name: p.asnumpy() for name, p in self._chunks[engine.stage].parameters.items()}
        group = engine.runtime.pipeline_group(engine.mesh)
        everyone = gather_arrays(mine, group=group, size=engine.mesh.pipeline)
        for chunk in self._chunks:
            set_arrays(chunk.parameters.values(), [everyone[name] for name in chunk.parameters])


class _Evaluating:
    def __init__(self, stand_in: _StandIn, network: nn.Cell) -> None:
        self._stand_in, self._network = stand_in, network

    def compile(self, *inputs: Tensor) -> None:
        self._stand_in.compiler(self._network, *inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        self._stand_in.fetch_weights()
        return self._network(*inputs)
