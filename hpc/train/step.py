"""The compiled training step: forward, gradients, reduction, clip, AdamW and EMA in one graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from mindspore import Parameter, Tensor, nn

from hpc.train.buckets import make_layout
from hpc.train.compile_cache import Compiler
from hpc.train.freed_memory import give_back_freed_memory
from hpc.train.optim import AdamW, set_arrays
from hpc.train.step_graphs import (
    Accumulate,
    ApplySums,
    ApplyTotal,
    Gradients,
    Mean,
    MeanOfOwnRows,
    Part,
    Report,
    Sums,
    Update,
    WholeStep,
)
from hpc.train.tree_sum import AddParts, SummationTree, TreeMean, add_as_tree
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
    """One optimizer step of a loss Cell, on this rank and on all ranks of its data group.

    The loss Cell's ``construct(*inputs)`` returns ``(loss, *scalars)``, or just the loss when it
    has no scalars, each the mean over the samples of the batch that it got. Every rank passes an
    equal number of samples, so the means of means are means over the global batch.

    With one micro-batch everything is one graph. With more, one graph adds up gradients and another
    reduces and applies them, so gradients travel once a step.

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
        bucket_bytes: size of the gradient buckets. One bucket means one message a step; several
            let messages overlap with the backward pass.

    The other arguments are those of `hpc.train.optim.AdamW`.
    """

    def __init__(
        self,
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
    ):
        assert accumulation >= 1
        assert (data_group is None) == (data_size == 1), "a group has at least two ranks"
        assert shard is None or shard.size == data_size, "the data ranks share the state out"
        assert tree is None or (shard is None and accumulation == tree.own_shards)
        self.parameters = dict(parameters)
        self.tree = tree
        self.accumulation = accumulation
        self.names = ("loss", "grad_norm", "is_finite", STOP_VOTES, *scalar_names)
        self.layout = make_layout(
            {name: p.shape for name, p in self.parameters.items()},
            bucket_bytes=bucket_bytes,
            row_multiple=1 if shard is None else shard.size,
        )
        self.optimizer = AdamW(
            self.parameters,
            self.layout,
            weight_decay=weight_decay,
            max_norm=max_norm,
            betas=betas,
            eps=eps,
            ema_decay=ema_decay,
            shard=shard,
        )
        gradients = Gradients(loss, self.parameters, self.layout, scalars=len(scalar_names))
        if tree is not None:
            mean: nn.Cell = TreeMean(tree)
        elif shard is None or shard.size == 1:
            mean = Mean(data_group, data_size)
        else:
            mean = MeanOfOwnRows(shard)
        sums_of = 1 if tree is not None else accumulation
        update = Update(self.optimizer, mean, Report(), share=1.0 / sums_of)
        if tree is not None:
            self._part, self._add = Part(gradients), AddParts()
            self._apply_total = ApplyTotal(update)
        elif accumulation == 1:
            self._whole = WholeStep(gradients, update)
        else:
            self._sums = Sums(self.layout, scalars=1 + len(scalar_names))
            self._accumulate = Accumulate(gradients, self._sums)
            self._apply = ApplySums(update, self._sums)

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler = nn.Cell.compile) -> None:
        """Compile for inputs of these shapes and dtypes without making a step.

        The first step does it otherwise. The mode, training or not, that the loss Cell has at this
        moment is compiled in; changing it later does not change the step.

        Args:
            inputs: as for a step.
            compiler: for instance `hpc.train.compile_cache.CompileCache.compile`.
        """
        give_back_freed_memory()
        if self.tree is not None:
            first = [self._micro_batch(array, 0) for array in inputs]
            compiler(self._part, *first)
            total = self._part(*first)
            if self.accumulation > 1:
                compiler(self._add, *total, *total)
            compiler(self._apply_total, _control(0.0, 0), *total)
        elif self.accumulation == 1:
            compiler(self._whole, _control(0.0, False), *(as_tensor(array) for array in inputs))
        else:
            compiler(self._accumulate, *(self._micro_batch(array, 0) for array in inputs))
            compiler(self._apply, _control(0.0, False))
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
        own_parts = 1 if self.tree is None else self.accumulation
        control = _control(learning_rate, own_parts * stop_vote)
        if self.tree is not None:
            parts = [partial(self._part_of, inputs, n) for n in range(self.accumulation)]
            total = add_as_tree(parts, self._add)
            values = self._apply_total(control, *total)
        elif self.accumulation == 1:
            values = self._whole(control, *(as_tensor(array) for array in inputs))
        else:
            for number in range(self.accumulation):
                self._accumulate(*(self._micro_batch(array, number) for array in inputs))
            values = self._apply(control)
        return StepReport(self.names, values)

    def _part_of(self, inputs: Sequence[np.ndarray | Tensor], number: int) -> tuple[Tensor, ...]:
        return self._part(*(self._micro_batch(array, number) for array in inputs))

    def _micro_batch(self, array: np.ndarray | Tensor, number: int) -> Tensor:
        size, rest = divmod(array.shape[0], self.accumulation)
        assert rest == 0, f"{array.shape[0]} samples in {self.accumulation} micro-batches"
        return as_tensor(array[number * size : (number + 1) * size])

    def export(self) -> TrainState:
        """Copy the weights, the optimizer's state and the average to the host.

        With a shard all of its ranks call it together.
        """
        weights = {name: np.array(p.asnumpy()) for name, p in self.parameters.items()}
        moments, average = self.optimizer.export()
        return TrainState(model=weights, optimizer=moments, ema=average)

    def export_ema(self) -> dict[str, np.ndarray]:
        """Copy the moving average of the weights to the host; empty when none is kept."""
        return self.optimizer.export_average()

    def load(self, state: TrainState) -> None:
        """Take over a state that `export` made, from any mesh and any bucket size."""
        self.load_weights(state.model)
        self.optimizer.load(state.optimizer, state.ema)

    def load_weights(self, model: Mapping[str, np.ndarray]) -> None:
        """Overwrite the trained weights, for instance by their average and back."""
        set_arrays(self.parameters.values(), [model[name] for name in self.parameters])


def _control(learning_rate: float, stop_vote: float) -> Tensor:
    return Tensor(np.array([learning_rate, float(stop_vote)], np.float32))


def as_tensor(array: np.ndarray | Tensor) -> Tensor:
    """Return an input on the device."""
    return array if isinstance(array, Tensor) else Tensor(np.asarray(array, order="C"))
