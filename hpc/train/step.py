"""One training step: an engine finds the gradients, the update moves the weights by them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mindspore import Parameter, Tensor, nn

from hpc.train.compile_cache import Compiler
from hpc.train.engines import Engine, data_parallel
from hpc.train.freed_memory import give_back_freed_memory
from hpc.train.optim import AdamW, set_arrays
from hpc.train.tree_sum import SummationTree
from hpc.train.update import Update
from hpc.train.zero import OptimizerShard

STOP_VOTES = "stop_votes"


@dataclass(frozen=True)
class StepReport:
    """What a step found, still on the device."""

    names: tuple[str, ...]
    values: Tensor

    def read(self) -> dict[str, float]:
        """Wait for the step and return its numbers by name, averaged over the data axis.

        ``loss``, ``grad_norm`` (before clipping), ``is_finite`` (1 or 0), ``stop_votes`` (the share
        of ranks that ask to stop) and the loss Cell's own scalars.
        """
        return dict(zip(self.names, self.values.asnumpy().tolist(), strict=True))


@dataclass(frozen=True)
class TrainState:
    """Everything that a step changes, on the host, by the parameters' canonical names."""

    model: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    """``first_moment/NAME``, ``second_moment/NAME`` and the scalar ``updates``."""
    ema: dict[str, np.ndarray]
    """Empty when no moving average is kept."""


class TrainStep:
    """One optimizer step of a network, on this rank and on all ranks that share it.

    Equal up to rounding whatever the engine and however many ranks.

    Args:
        engine: finds this rank's gradients.
        scalar_names: names of the loss Cell's scalars.

    The other arguments are those of `hpc.train.optim.AdamW`.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        scalar_names: Sequence[str] = (),
        weight_decay: float,
        max_norm: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        ema_decay: float | None = None,
    ):
        self.engine, self.parameters = engine, dict(engine.parameters)
        self.names = ("loss", "grad_norm", "is_finite", STOP_VOTES, *scalar_names)
        self.optimizer = AdamW(
            self.parameters,
            engine.layout,
            weight_decay=weight_decay,
            max_norm=max_norm,
            betas=betas,
            eps=eps,
            ema_decay=ema_decay,
            shard=engine.shard,
        )
        engine.connect(
            Update(
                self.optimizer,
                engine.reduction,
                share=1.0 / engine.parts,
                vote_share=1.0 / engine.ranks,
            )
        )

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler = nn.Cell.compile) -> None:
        """Compile for inputs of these shapes and dtypes, on all ranks, without making a step.

        The first step does it otherwise. The mode, training or not, that the loss Cell has at this
        moment is compiled in; changing it later does not change the step.

        Args:
            inputs: as for a step.
            compiler: for instance `hpc.train.compile_cache.CompileCache.compile`; called as often
                on every rank.
        """
        give_back_freed_memory()
        self.engine.compile(*inputs, compiler=compiler)
        give_back_freed_memory()

    def __call__(
        self,
        *inputs: np.ndarray | Tensor,
        learning_rate: float,
        stop_vote: bool = False,
    ) -> StepReport:
        """Make one step on this rank's part of the global batch.

        Args:
            inputs: what the loss Cell takes; the first axis of each is the sample.
            learning_rate: of this step.
            stop_vote: whether this rank asks to stop; `StepReport` tells all ranks.
        """
        control = Tensor(np.array([learning_rate, float(stop_vote)], np.float32))
        return StepReport(self.names, self.engine.step(control, *inputs))

    def export(self) -> TrainState:
        """Copy the state of the whole network to the host; all ranks that share it call it."""
        weights = {name: np.array(p.asnumpy()) for name, p in self.parameters.items()}
        moments, average = self.optimizer.export()
        updates = {"updates": moments.pop("updates")}
        return TrainState(
            model=self.engine.collect(weights),
            optimizer=self.engine.collect(moments) | updates,
            ema=self.engine.collect(average),
        )

    def export_ema(self) -> dict[str, np.ndarray]:
        """Copy the moving average of all weights to the host; empty when none is kept."""
        return self.engine.collect(self.optimizer.export_average())

    def load(self, state: TrainState) -> None:
        """Take over this rank's part of a state that `export` made on any mesh."""
        self.load_weights(state.model)
        self.optimizer.load(state.optimizer, state.ema)

    def load_weights(self, model: Mapping[str, np.ndarray]) -> None:
        """Overwrite the trained weights, for instance by their average and back."""
        set_arrays(self.parameters.values(), [model[name] for name in self.parameters])


def train_step(
    loss: nn.Cell,
    parameters: Mapping[str, Parameter],
    *,
    scalar_names: Sequence[str] = (),
    accumulation: int = 1,
    data_group: str | None = None,
    data_size: int = 1,
    shard: OptimizerShard | None = None,
    tree: SummationTree | None = None,
    bucket_bytes: int = 64 << 20,
    weight_decay: float,
    max_norm: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    ema_decay: float | None = None,
) -> TrainStep:
    """Return the step of a network that every rank holds.

    The loss Cell's ``construct(*inputs)`` returns ``(loss, *scalars)``, or just the loss when it
    has no scalars, each the mean over the samples of the batch that it got. Every rank passes an
    equal number of samples, so the means of means are means over the global batch.

    Args:
        loss: the Cell to differentiate, already in training mode.
        parameters: what to train, by canonical name (the names in checkpoints).
        scalar_names: names of the loss Cell's scalars.
        accumulation: micro-batches of a step; each input's first axis is cut into as many parts.
        data_group: communication group to average over; None for one process.
        data_size: ranks in that group.
        shard: this rank's part of the optimizer's state, of all ranks of that group; None keeps
            the whole state on each.
        tree: adds micro-batches and ranks up in an order that does not depend on the number of
            ranks; `accumulation` is then its `own_shards`. None adds up as is fastest.
        bucket_bytes: size of the gradient buckets. One bucket means one message per step; several
            let messages overlap with the backward pass.

    The other arguments are those of `hpc.train.optim.AdamW`.
    """
    engine = data_parallel(
        loss,
        parameters,
        scalars=len(scalar_names),
        accumulation=accumulation,
        data_group=data_group,
        data_size=data_size,
        shard=shard,
        tree=tree,
        bucket_bytes=bucket_bytes,
    )
    return TrainStep(
        engine,
        scalar_names=scalar_names,
        weight_decay=weight_decay,
        max_norm=max_norm,
        betas=betas,
        eps=eps,
        ema_decay=ema_decay,
    )
