"""The training step of a pipeline, with the face of `hpc.train.step.TrainStep`."""

from collections.abc import Mapping, Sequence

import numpy as np
from mindspore import Tensor, nn

from hpc.cluster.gather import gather_arrays, gather_in_group
from hpc.cluster.runtime import Runtime
from hpc.pipeline.engine import Engine
from hpc.pipeline.stage_parameters import make_share
from hpc.pipeline.update import Groups, PipelineUpdate
from hpc.train.buckets import LANES, zeros
from hpc.train.compile_cache import Compiler
from hpc.train.freed_memory import give_back_freed_memory
from hpc.train.optim import AdamW, set_arrays
from hpc.train.step import STOP_VOTES, StepReport, TrainState
from hpc.train.zero import OptimizerShard


class PipelineTrainStep:
    """One optimizer step of a network that is spread over the ranks of a pipeline.

    Equal to `TrainStep` of the whole network up to rounding, on any mesh. Every rank of a pipeline
    gets the same inputs, the part of its data rank.

    Args:
        engine: makes the gradients of this rank's pieces.
        scalar_names: names of the last chunk's scalars.
        shard: this rank's part of the optimizer's state of its stage, of all data ranks; None
            keeps the whole state on each.
        bucket_bytes: size of the gradient buckets.

    The other arguments are those of `hpc.train.optim.AdamW`.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        scalar_names: Sequence[str] = (),
        shard: OptimizerShard | None = None,
        bucket_bytes: int = 64 << 20,
        weight_decay: float,
        max_norm: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        ema_decay: float | None = None,
    ):
        runtime, mesh = engine.runtime, engine.mesh
        _, stage = mesh.coordinates(runtime.place.rank)
        ranks = mesh.pipeline_group(runtime.place.rank)
        self.names = ("loss", "grad_norm", "is_finite", STOP_VOTES, *scalar_names)
        self.scalar_names = tuple(scalar_names)
        self._engine, self._mesh = engine, mesh
        data_group = runtime.data_group(mesh) if shard is None else shard.group
        self._group = runtime.pipeline_group(mesh)

        mine = {
            c: {name: p.shape for name, p in parameters.items()}
            for c, parameters in engine.held.items()
        }
        everyone: dict[int, dict[str, tuple[int, ...]]] = {}
        for part in self._gather(mine):
            everyone.update(part)
        assert sorted(everyone) == list(range(len(engine.placement))), "every chunk has one holder"
        shapes = [everyone[c] for c in sorted(everyone)]
        assert shard is None or shard.size == mesh.data, "the data ranks share the state out"
        self._share = make_share(
            shapes,
            placement=engine.placement,
            rank=stage,
            bucket_bytes=bucket_bytes,
            row_multiple=1 if shard is None else shard.size,
        )
        layout = self._share.layout
        held = {name: p for parameters in engine.held.values() for name, p in parameters.items()}
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
        engine.connect(self._share, sums, scalar_sums)
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
            micro_batches=engine.micro_batches,
            groups=groups,
        )

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler = nn.Cell.compile) -> None:
        """Compile for inputs of these shapes, on all ranks at once, without making a step.

        The first step does it otherwise, one chunk after the other along the pipeline.

        Args:
            inputs: as for a step.
            compiler: see `TrainStep.compile`; called as often on every rank.
        """
        give_back_freed_memory()
        self._engine.compile(*inputs, compiler=compiler)
        compiler(self._update, Tensor(np.zeros(2, np.float32)))
        give_back_freed_memory()

    def compile_evaluation(
        self, *inputs: np.ndarray | Tensor, compiler: Compiler = nn.Cell.compile
    ) -> None:
        """Compile what `evaluate` runs; see `compile`."""
        self._engine.compile_evaluation(*inputs, compiler=compiler)

    def __call__(
        self,
        *inputs: np.ndarray | Tensor,
        learning_rate: float,
        stop_vote: bool = False,
    ) -> StepReport:
        """Make one step on this data rank's part of the global batch; see `TrainStep`."""
        control = Tensor(np.array([learning_rate, float(stop_vote)], np.float32))
        self._engine.run(*inputs)
        return StepReport(self.names, self._update(control))

    def evaluate(self, *inputs: np.ndarray | Tensor) -> dict[str, float]:
        """Return loss and scalars of a batch without dropout, on every rank of this pipeline.

        All ranks of the pipeline call it with the same inputs, of the sizes that a step takes.
        """
        means = self._engine.evaluate(*inputs)
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
