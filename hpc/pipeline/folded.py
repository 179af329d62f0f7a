"""Our engine: a folded pipeline, run action by action from compiled chunks."""

from collections.abc import Mapping, Sequence

import numpy as np
from mindspore import Parameter, Tensor, nn

from hpc.cluster.gather import gather_in_group
from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.pipeline.actions import Placement, Schedule
from hpc.pipeline.chunk import Chunk, ChunkBackward
from hpc.pipeline.executor import Executor, Observe
from hpc.pipeline.schedule import (
    folded_one_forward_one_backward,
    folded_placement,
    forward_only,
    gpipe,
)
from hpc.pipeline.stage_parameters import StageParameters
from hpc.pipeline.transport import Transport
from hpc.train.compile_cache import Compiler
from hpc.train.engines import micro_batch
from hpc.train.update import Sums
from hpc.train.without_dropout import without_dropout


class FoldedEngine:
    """See `hpc.pipeline.engine.Passes`.

    Args:
        chunks: this rank's pieces by number; of a pipeline of p ranks, rank r has r and 2p-1-r.
            One rank may have any number of pieces, even: then each keeps only its input until its
            backward pass, and the step needs the memory of its largest piece.
        runtime: the ranks.
        mesh: their order.
        micro_batches: of a step.
        schedule: for a folded placement; None is folded 1F1B.
        observe: see `Executor`.
    """

    def __init__(
        self,
        chunks: Mapping[int, Chunk],
        *,
        runtime: Runtime,
        mesh: Mesh,
        micro_batches: int,
        schedule: Schedule | None = None,
        observe: Observe | None = None,
    ):
        self.runtime, self.mesh, self.micro_batches = runtime, mesh, micro_batches
        self.placement: Placement = (0,) * len(chunks)
        if mesh.pipeline > 1:
            self.placement = folded_placement(mesh.pipeline)
        self.held: Mapping[int, Mapping[str, Parameter]] = {
            c: chunk.parameters for c, chunk in chunks.items()
        }
        self._chunks, self._observe = dict(chunks), observe
        self._cells = [chunk.cell for chunk in chunks.values()]
        for cell in self._cells:
            cell.set_train(True)
        if schedule is None and mesh.pipeline == 1:
            schedule = gpipe(placement=self.placement, micro_batches=micro_batches)
        elif schedule is None:
            schedule = folded_one_forward_one_backward(
                stages=mesh.pipeline,
                micro_batches=micro_batches,
                blocking=runtime.sends_may_wait,
            )
        assert schedule.micro_batches == micro_batches
        self.schedule = schedule
        group = runtime.pipeline_group(mesh)
        shapes: dict[int, tuple[int, ...] | None] = {}
        mine = {c: chunk.out_shape for c, chunk in chunks.items()}
        for part in gather_in_group(mine, group=group, size=mesh.pipeline):
            shapes.update(part)
        self._shapes = [shapes[c] for c in sorted(shapes)]

    def connect(self, parameters: StageParameters, sums: Sums) -> None:
        self._backwards = {}
        for c, chunk in self._chunks.items():
            layout, buckets = parameters.of_chunk(c)
            self._backwards[c] = ChunkBackward(
                chunk,
                carried=(c > 0) + len(chunk.skips_taken),
                layout=layout,
                sums=[sums.buckets[b] for b in buckets],
                scalar_sums=sums.scalars,
            )
        self._train = self._executor(self.schedule, self._backwards, self._observe)
        look = forward_only(
            placement=self.placement,
            micro_batches=self.micro_batches,
            blocking=self.runtime.sends_may_wait,
        )
        self._look = self._executor(look)

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        for c, chunk in self._chunks.items():
            carried, taken, cotangents = self._examples(c, inputs)
            if chunk.is_last:  # its forward pass is part of the backward pass
                compiler(nn.Identity(), taken[0])
            else:
                compiler(chunk.cell, *carried, *taken)
            compiler(self._backwards[c], *carried, *taken, *cotangents)

    def compile_evaluation(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        with without_dropout(*self._cells):
            for c, chunk in self._chunks.items():
                carried, taken, _ = self._examples(c, inputs)
                compiler(chunk.cell, *carried, *taken)

    def run(self, *inputs: np.ndarray | Tensor) -> None:
        self._train.run(self._micro_batches(inputs))

    def evaluate(self, *inputs: np.ndarray | Tensor) -> list[float]:
        with without_dropout(*self._cells):
            found = self._look.run(self._micro_batches(inputs))
        values = [[float(value.asnumpy()) for value in values] for values in found]
        return np.mean(values, 0).tolist() if values else []

    def _executor(
        self,
        schedule: Schedule,
        backwards: Mapping[int, ChunkBackward] | None = None,
        observe: Observe | None = None,
    ) -> Executor:
        rank = self.runtime.place.rank
        return Executor(
            schedule,
            chunks=self._chunks,
            backwards=backwards,
            shapes=self._shapes,
            ranks=self.mesh.pipeline_group(rank),
            rank=self.mesh.coordinates(rank)[1],
            transport=Transport(self.runtime),
            observe=observe,
        )

    def _micro_batches(self, inputs: Sequence[np.ndarray | Tensor]) -> list[dict[int, Tensor]]:
        taken = sorted({number for chunk in self._chunks.values() for number in chunk.inputs})
        mine = [inputs[number] for number in taken]
        return [
            dict(zip(taken, micro_batch(mine, k, of=self.micro_batches), strict=True))
            for k in range(self.micro_batches)
        ]

    def _examples(
        self, c: int, inputs: Sequence[np.ndarray | Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return (carried, taken inputs, cotangents) of a chunk, of a step's shapes."""
        samples = inputs[0].shape[0] // self.micro_batches

        def blank(shape: tuple[int, ...] | None) -> Tensor:
            assert shape is not None, "nothing leaves the last chunk"
            return Tensor(np.zeros((samples, *shape), np.float32))

        chunk, first = self._chunks[c], self._micro_batches(inputs)[0]
        stream = [] if c == 0 else [blank(self._shapes[c - 1])]
        cotangents = []
        if not chunk.is_last:
            cotangents = [blank(self._shapes[c]), *map(blank, chunk.skips_made)]
        taken = [first[number] for number in chunk.inputs]
        return [*stream, *map(blank, chunk.skips_taken)], taken, cotangents
