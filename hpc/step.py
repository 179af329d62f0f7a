"""The compiled training step: forward, gradients, reduction, clip, AdamW and EMA in one graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hpc.compile_cache import Compiler
from hpc.flat import LANES, Clear, Pack, make_layout
from hpc.optim import AdamW, set_arrays
from hpc.shard import ReduceToOwnRows, Shard, SumOfSquares
from hpc.tree_sum import AddParts, SummationTree, TreeMean, add_as_tree

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

    The other arguments are those of `hpc.optim.AdamW`.
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
        shard: Shard | None = None,
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
        gradients = _Gradients(loss, self.parameters, self.layout, scalars=len(scalar_names))
        if tree is not None:
            mean: nn.Cell = TreeMean(tree)
        elif shard is None or shard.size == 1:
            mean = _Mean(data_group, data_size)
        else:
            mean = _MeanOfOwnRows(shard)
        sums_of = 1 if tree is not None else accumulation
        update = _Update(self.optimizer, mean, _Report(), share=1.0 / sums_of)
        if tree is not None:
            self._part, self._add = _Part(gradients), AddParts()
            self._apply_total = _ApplyTotal(update)
        elif accumulation == 1:
            self._whole = _WholeStep(gradients, update)
        else:
            self._sums = _Sums(self.layout, scalars=1 + len(scalar_names))
            self._accumulate = _Accumulate(gradients, self._sums)
            self._apply = _ApplySums(update, self._sums)

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler = nn.Cell.compile) -> None:
        """Compile for inputs of these shapes and dtypes without making a step.

        The first step does it otherwise. The mode, training or not, that the loss Cell has at this
        moment is compiled in; changing it later does not change the step.

        Args:
            inputs: as for a step.
            compiler: for instance `hpc.compile_cache.CompileCache.compile`.
        """
        if self.tree is not None:
            first = [self._micro_batch(array, 0) for array in inputs]
            compiler(self._part, *first)
            total = self._part(*first)
            if self.accumulation > 1:
                compiler(self._add, *total, *total)
            compiler(self._apply_total, _control(0.0, 0), *total)
        elif self.accumulation == 1:
            compiler(self._whole, _control(0.0, False), *(_tensor(array) for array in inputs))
        else:
            compiler(self._accumulate, *(self._micro_batch(array, 0) for array in inputs))
            compiler(self._apply, _control(0.0, False))

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
            values = self._whole(control, *(_tensor(array) for array in inputs))
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
        return _tensor(array[number * size : (number + 1) * size])

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


class _Gradients(nn.Cell):
    """inputs -> gradient buckets and `[1 + scalars]` loss and scalars, of this rank's samples."""

    def __init__(self, loss, parameters, layout, *, scalars: int):
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.has_scalars = scalars > 0
        self.differentiate = ops.value_and_grad(
            loss, None, ms.ParameterTuple(parameters.values()), has_aux=self.has_scalars
        )
        self.pack = Pack(layout)

    def construct(self, *inputs):
        values, gradients = self.differentiate(*inputs)
        if not self.has_scalars:
            values = (values,)
        return self.pack(gradients), _vector(values)


class _Part(nn.Cell):
    """inputs -> the gradient buckets and the scalars of `_Gradients` in one tuple."""

    def __init__(self, gradients: _Gradients):
        super().__init__(auto_prefix=False)
        self.gradients = gradients

    def construct(self, *inputs):
        buckets, scalars = self.gradients(*inputs)
        return (*buckets, scalars)


class _Mean(nn.Cell):
    """Average buckets and scalars over the data group; the scalars ride in the last bucket.

    ``construct(buckets, scalars) -> (buckets, scalars, sum of squares of the buckets)``.
    """

    def __init__(self, group: str | None, size: int):
        super().__init__()
        self.size = size
        self.sum_of_squares = SumOfSquares()
        if size > 1:
            self.reduce = ops.AllReduce(ops.ReduceOp.SUM, group)
            self.join = ops.Concat(0)

    def construct(self, buckets, scalars):
        if self.size == 1:
            return buckets, scalars, self.sum_of_squares(buckets)
        share = 1.0 / self.size
        reduced = ()
        for bucket in buckets[:-1]:
            reduced = (*reduced, self.reduce(bucket) * share)
        last = ops.reshape(buckets[-1], (-1,))
        count = last.shape[0]
        both = self.reduce(self.join((last, scalars))) * share
        last = ops.reshape(ops.slice(both, (0,), (count,)), (-1, LANES))
        reduced = (*reduced, last)
        scalars = ops.slice(both, (count,), (scalars.shape[0],))
        return reduced, scalars, self.sum_of_squares(reduced)


class _MeanOfOwnRows(nn.Cell):
    """What `_Mean` does, with this rank's rows of the buckets in place of all rows."""

    def __init__(self, shard: Shard):
        super().__init__()
        self.share = 1.0 / shard.size
        self.sum_of_squares = SumOfSquares()
        self.own_rows = ReduceToOwnRows(shard)
        self.reduce = ops.AllReduce(ops.ReduceOp.SUM, shard.group)

    def construct(self, buckets, scalars):
        reduced = ()
        for bucket in buckets:
            reduced = (*reduced, self.own_rows(bucket) * self.share)
        squares = ops.reshape(self.sum_of_squares(reduced), (1,))
        both = self.reduce(ops.concat((squares, scalars * self.share)))
        return reduced, both[1:], both[0]


class _Report(nn.Cell):
    """loss, norm, finiteness, votes and scalars -> one `[4 + scalars]` vector."""

    def construct(self, scalars, norm, is_finite, votes):
        found = _vector((scalars[0], norm, is_finite, votes))
        if scalars.shape[0] == 1:
            return found
        return ops.concat((found, scalars[1:]))


class _Update(nn.Cell):
    """control, this rank's buckets and scalars -> the step's report; changes the weights.

    Buckets and scalars times `share` are means over this rank's samples.
    """

    def __init__(self, optimizer: AdamW, mean: nn.Cell, report: _Report, *, share: float):
        super().__init__(auto_prefix=False)
        self.optimizer, self.mean, self.report = optimizer, mean, report
        self.share = share

    def construct(self, control, buckets, scalars):
        votes = ops.slice(control, (1,), (1,))
        scalars = ops.concat((scalars * self.share, votes))
        buckets, scalars, squares = self.mean(buckets, scalars)
        votes, scalars = scalars[-1], scalars[:-1]
        norm, is_finite = self.optimizer(
            buckets,
            control[0],
            ops.isfinite(scalars[0]),
            ops.sqrt(squares) * self.share,
            self.share,
        )
        return self.report(scalars, norm, is_finite, votes)


class _ApplyTotal(nn.Cell):
    """control and what `_Part` gives, summed -> the step's report; changes the weights."""

    def __init__(self, update: _Update):
        super().__init__(auto_prefix=False)
        self.update = update

    def construct(self, control, *total):
        return self.update(control, total[:-1], total[-1])


class _WholeStep(nn.Cell):
    def __init__(self, gradients: _Gradients, update: _Update):
        super().__init__(auto_prefix=False)
        self.gradients, self.update = gradients, update

    def construct(self, control, *inputs):
        buckets, scalars = self.gradients(*inputs)
        return self.update(control, buckets, scalars)


class _Sums(nn.Cell):
    """Gradients and scalars added up over micro-batches."""

    def __init__(self, layout, *, scalars: int):
        super().__init__(auto_prefix=False)
        self.buckets = ms.ParameterTuple(
            [
                _zeros(f"gradient_sum.{b}", (layout.rows(b), LANES))
                for b in range(len(layout.buckets))
            ]
        )
        self.scalars = _zeros("scalar_sum", (scalars,))


class _Accumulate(nn.Cell):
    def __init__(self, gradients: _Gradients, sums: _Sums):
        super().__init__(auto_prefix=False)
        self.gradients, self.sums = gradients, sums

    def construct(self, *inputs):
        buckets, scalars = self.gradients(*inputs)
        for b in range(len(buckets)):
            ops.assign_add(self.sums.buckets[b], buckets[b])
        return ops.assign_add(self.sums.scalars, scalars)


class _ApplySums(nn.Cell):
    def __init__(self, update: _Update, sums: _Sums):
        super().__init__(auto_prefix=False)
        self.update, self.sums = update, sums
        self.clear = Clear()

    def construct(self, control):
        report = done = self.update(control, self.sums.buckets, self.sums.scalars)
        for bucket in self.sums.buckets:
            done = self.clear(bucket, done)
        ops.assign(self.sums.scalars, ops.zeros_like(self.sums.scalars))
        return ops.depend(report, done)


def _vector(scalars):
    columns = ()
    for scalar in scalars:
        columns = (*columns, ops.reshape(ops.cast(scalar, ms.float32), (1,)))
    return ops.concat(columns)


def _control(learning_rate: float, stop_vote: float) -> Tensor:
    return Tensor(np.array([learning_rate, float(stop_vote)], np.float32))


def _zeros(name: str, shape: tuple[int, ...]) -> Parameter:
    return Parameter(Tensor(np.zeros(shape, np.float32)), name=name, requires_grad=False)


def _tensor(array: np.ndarray | Tensor) -> Tensor:
    return array if isinstance(array, Tensor) else Tensor(np.asarray(array, order="C"))
