"""The training step of a folded pipeline, with the face of `hpc.step.TrainStep`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from mindspore import Tensor, nn

from hpc.compile_cache import Compiler
from hpc.flat import LANES, zeros
from hpc.freed_memory import give_back_freed_memory
from hpc.gather import gather_arrays, gather_in_group
from hpc.mesh import Mesh
from hpc.optim import AdamW, set_arrays
from hpc.pipeline.actions import Schedule
from hpc.pipeline.chunk import Chunk, ChunkBackward
from hpc.pipeline.executor import Executor, Observe
from hpc.pipeline.schedule import (
    folded_one_forward_one_backward,
    folded_placement,
    forward_only,
    gpipe,
)
from hpc.pipeline.shares import make_share
from hpc.pipeline.transport import Transport
from hpc.pipeline.update import Groups, PipelineUpdate
from hpc.runtime import Runtime
from hpc.shard import Shard
from hpc.step import STOP_VOTES, StepReport, TrainState


class PipelineTrainStep:
    """One optimizer step of a network that is spread over the ranks of a pipeline.

    Equal to `TrainStep` of the whole network up to rounding, on any mesh. Every rank of a pipeline
    gets the same inputs, the part of its data rank.

    Args:
        chunks: this rank's pieces by number; of a pipeline of p ranks, rank r has r and 2p-1-r.
            One rank may have any number of pieces, even: then each keeps only its input until its
            backward pass, and the step needs the memory of its largest piece.
        runtime: the ranks.
        mesh: their order.
        micro_batches: of a step; each input's first axis is cut into as many parts.
        scalar_names: names of the last chunk's scalars.
        schedule: for a folded placement; None is folded 1F1B.
        shard: this rank's part of the optimizer's state of its stage, of all data ranks; None
            keeps the whole state on each.
        bucket_bytes: size of the gradient buckets.
        observe: see `Executor`.

    The other arguments are those of `hpc.optim.AdamW`.
    """

    def __init__(
        self,
        chunks: Mapping[int, Chunk],
        *,
        runtime: Runtime,
        mesh: Mesh,
        micro_batches: int,
        scalar_names: Sequence[str] = (),
        schedule: Schedule | None = None,
        shard: Shard | None = None,
        bucket_bytes: int = 64 << 20,
        observe: Observe | None = None,
        weight_decay: float,
        max_norm: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        ema_decay: float | None = None,
    ):
        _, stage = mesh.coordinates(runtime.place.rank)
        ranks = mesh.pipeline_group(runtime.place.rank)
        placement = (0,) * len(chunks) if mesh.pipeline == 1 else folded_placement(mesh.pipeline)
        self.names = ("loss", "grad_norm", "is_finite", STOP_VOTES, *scalar_names)
        self.micro_batches, self.scalar_names = micro_batches, tuple(scalar_names)
        self._chunks, self._runtime, self._mesh = dict(chunks), runtime, mesh
        self._set_train(True)
        data_group = runtime.data_group(mesh) if shard is None else shard.group
        self._group = runtime.pipeline_group(mesh)

        mine = {
            c: ({name: p.shape for name, p in chunk.parameters.items()}, chunk.out_shape)
            for c, chunk in chunks.items()
        }
        everyone: dict[int, tuple[dict[str, tuple[int, ...]], tuple[int, ...] | None]] = {}
        for part in self._gather(mine):
            everyone.update(part)
        assert sorted(everyone) == list(range(len(placement))), "every chunk has one holder"
        self._shapes = [everyone[c][1] for c in sorted(everyone)]
        shapes = [everyone[c][0] for c in sorted(everyone)]
        assert shard is None or shard.size == mesh.data, "the data ranks share the state out"
        self._share = make_share(
            shapes,
            placement=placement,
            rank=stage,
            bucket_bytes=bucket_bytes,
            row_multiple=1 if shard is None else shard.size,
        )
        layout = self._share.layout
        held = {name: p for chunk in chunks.values() for name, p in chunk.parameters.items()}
        self.parameters = {name: held[name] for name in layout.shapes}
        """What this rank trains, by canonical name."""
        numbers = range(len(layout.buckets))
        groups = Groups(
            world=runtime.world_group,
            world_size=mesh.size,
            data=data_group,
            data_size=mesh.data,
            holders=_holder_groups(
                [self._share.holders(b) for b in numbers], ranks=ranks, runtime=runtime
            ),
        )
        sums = [zeros(f"gradient_sum.{b}", (layout.rows(b), LANES)) for b in numbers]
        scalar_sums = zeros("scalar_sum", (1 + len(scalar_names),))
        self._backwards = {}
        for c, chunk in chunks.items():
            own_layout, own_buckets = self._share.of_chunk(c)
            self._backwards[c] = ChunkBackward(
                chunk,
                carried=(c > 0) + len(chunk.skips_taken),
                layout=own_layout,
                sums=[sums[b] for b in own_buckets],
                scalar_sums=scalar_sums,
            )
        self.optimizer = AdamW(
            self.parameters,
            layout,
            weight_decay=weight_decay,
            max_norm=max_norm,
            betas=betas,
            eps=eps,
            ema_decay=ema_decay,
            shard=shard,
        )
        self._update = PipelineUpdate(
            self.optimizer,
            sums=sums,
            scalar_sums=scalar_sums,
            owned=[self._share.is_owned(b) for b in numbers],
            micro_batches=micro_batches,
            groups=groups,
        )
        if schedule is None and mesh.pipeline == 1:
            schedule = gpipe(placement=placement, micro_batches=micro_batches)
        elif schedule is None:
            schedule = folded_one_forward_one_backward(
                stages=mesh.pipeline,
                micro_batches=micro_batches,
                blocking=runtime.sends_may_wait,
            )
        assert schedule.micro_batches == micro_batches
        common = {
            "chunks": self._chunks,
            "shapes": self._shapes,
            "ranks": ranks,
            "rank": stage,
            "transport": Transport(runtime),
        }
        self.schedule = schedule
        self._train = Executor(schedule, backwards=self._backwards, observe=observe, **common)
        look = forward_only(
            placement=placement, micro_batches=micro_batches, blocking=runtime.sends_may_wait
        )
        self._look = Executor(look, backwards=None, **common)

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler = nn.Cell.compile) -> None:
        """Compile for inputs of these shapes, on all ranks at once, without making a step.

        The first step does it otherwise, one chunk after the other along the pipeline.

        Args:
            inputs: as for a step.
            compiler: see `TrainStep.compile`; called as often on every rank.
        """
        give_back_freed_memory()
        for c, chunk in self._chunks.items():
            carried, taken, cotangents = self._examples(c, inputs)
            if chunk.is_last:  # its forward pass is part of the backward pass
                compiler(nn.Identity(), taken[0])
            else:
                compiler(chunk.cell, *carried, *taken)
            compiler(self._backwards[c], *carried, *taken, *cotangents)
        compiler(self._update, Tensor(np.zeros(2, np.float32)))
        give_back_freed_memory()

    def compile_evaluation(
        self, *inputs: np.ndarray | Tensor, compiler: Compiler = nn.Cell.compile
    ) -> None:
        """Compile what `evaluate` runs; see `compile`."""
        with self._without_dropout():
            for c, chunk in self._chunks.items():
                carried, taken, _ = self._examples(c, inputs)
                compiler(chunk.cell, *carried, *taken)

    def __call__(
        self,
        *inputs: np.ndarray | Tensor,
        learning_rate: float,
        stop_vote: bool = False,
    ) -> StepReport:
        """Make one step on this data rank's part of the global batch; see `TrainStep`."""
        control = Tensor(np.array([learning_rate, float(stop_vote)], np.float32))
        self._train.run(self._micro_batches(inputs))
        return StepReport(self.names, self._update(control))

    def evaluate(self, *inputs: np.ndarray | Tensor) -> dict[str, float]:
        """Return loss and scalars of a batch without dropout, on every rank of this pipeline.

        All ranks of the pipeline call it with the same inputs, of the sizes that a step takes.
        """
        with self._without_dropout():
            found = self._look.run(self._micro_batches(inputs))
        values = [[float(value.asnumpy()) for value in values] for values in found]
        means = np.mean(values, 0).tolist() if values else []
        means = next(part for part in self._gather(means) if part)
        return dict(zip(("loss", *self.scalar_names), means, strict=True))

    def export(self) -> TrainState:
        """Copy the state of the whole network to every host; all ranks call it together."""
        weights = {name: np.array(p.asnumpy()) for name, p in self.parameters.items()}
        moments, average = self.optimizer.export()
        updates = {"updates": moments.pop("updates")}
        return TrainState(
            model=self._collect(weights),
            optimizer=self._collect(moments) | updates,
            ema=self._collect(average),
        )

    def export_ema(self) -> dict[str, np.ndarray]:
        """Copy the moving average of all weights to every host; empty when none is kept."""
        return self._collect(self.optimizer.export_average())

    def load(self, state: TrainState) -> None:
        """Take over this rank's part of a state that `export` made on any mesh."""
        self.load_weights(state.model)
        self.optimizer.load(state.optimizer, state.ema)

    def load_weights(self, model: Mapping[str, np.ndarray]) -> None:
        """Overwrite this rank's weights by those of a whole network."""
        set_arrays(self.parameters.values(), [model[name] for name in self.parameters])

    def _micro_batches(self, inputs: Sequence[np.ndarray | Tensor]) -> list[dict[int, Tensor]]:
        taken = sorted({number for chunk in self._chunks.values() for number in chunk.inputs})
        size, rest = divmod(inputs[0].shape[0], self.micro_batches)
        assert rest == 0, f"{inputs[0].shape[0]} samples in {self.micro_batches} micro-batches"
        return [
            {n: _tensor(inputs[n][k * size : (k + 1) * size]) for n in taken}
            for k in range(self.micro_batches)
        ]

    def _examples(
        self, c: int, inputs: Sequence[np.ndarray | Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return (carried, taken inputs, cotangents) of a chunk, of a step's shapes."""
        samples = inputs[0].shape[0] // self.micro_batches

        def blank(shape: tuple[int, ...]) -> Tensor:
            return Tensor(np.zeros((samples, *shape), np.float32))

        chunk, first = self._chunks[c], self._micro_batches(inputs)[0]
        stream = [] if c == 0 else [blank(self._shapes[c - 1])]
        cotangents = []
        if not chunk.is_last:
            cotangents = [blank(self._shapes[c]), *map(blank, chunk.skips_made)]
        taken = [first[number] for number in chunk.inputs]
        return [*stream, *map(blank, chunk.skips_taken)], taken, cotangents

    @contextmanager
    def _without_dropout(self) -> Iterator[None]:
        self._set_train(False)
        yield
        self._set_train(True)

    def _set_train(self, on: bool) -> None:
        for chunk in self._chunks.values():
            chunk.cell.set_train(on)

    def _gather(self, value):
        return gather_in_group(value, group=self._group, size=self._mesh.pipeline)

    def _collect(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return arrays of all stages; names end in ``/PARAMETER`` or are parameters."""
        owned = set(self._share.owned_names)
        mine = {name: array for name, array in arrays.items() if name.split("/")[-1] in owned}
        return gather_arrays(mine, group=self._group, size=self._mesh.pipeline)


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


def _tensor(array: np.ndarray | Tensor) -> Tensor:
    return array if isinstance(array, Tensor) else Tensor(np.asarray(array, order="C"))
