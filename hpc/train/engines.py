"""How a step's gradients are found where every rank holds the whole network: three engines.

One graph is the fastest; accumulation needs the memory of one micro-batch; a fixed order gives the
same bits on any number of ranks. `hpc.pipeline.engine` has those of networks in pieces.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hpc.train.buckets import FlatLayout, Flatten, make_layout
from hpc.train.compile_cache import Compiler
from hpc.train.tree_sum import AddParts, SummationTree, add_as_tree
from hpc.train.update import (
    SumOfOwnRows,
    SumOverRanks,
    Sums,
    Update,
    UpdateFromSums,
    as_vector,
)
from hpc.train.zero import OptimizerShard

Inputs = Sequence[np.ndarray | Tensor]


class Engine(Protocol):
    """Finds this rank's gradients and hands them to the update."""

    parameters: Mapping[str, Parameter]
    """What this rank trains, by canonical name."""
    layout: FlatLayout
    """Of their gradients."""
    shard: OptimizerShard | None
    """This rank's part of the optimizer's state; None keeps all of it."""
    reduction: nn.Cell
    """See `hpc.train.update`."""
    parts: int
    """How many micro-batches of all ranks are added up."""
    ranks: int
    """Whose votes are added up."""

    def connect(self, update: Update) -> None:
        """Take what gradients are handed to; called once, before anything else."""

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        """Compile for inputs of these shapes; nothing is changed."""

    def step(self, control: Tensor, *inputs: np.ndarray | Tensor) -> Tensor:
        """Make a step; see `Update` for control and result."""

    def collect(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return this rank's arrays with those of all other parts of the network."""


def data_parallel(
    loss: nn.Cell,
    parameters: Mapping[str, Parameter],
    *,
    scalars: int,
    accumulation: int,
    data_group: str | None,
    data_size: int,
    shard: OptimizerShard | None,
    tree: SummationTree | None,
    bucket_bytes: int,
) -> Engine:
    """Return the engine of a network that every rank holds; see `hpc.train.step.train_step`."""
    assert accumulation >= 1
    assert (data_group is None) == (data_size == 1), "a group has at least two ranks"
    assert shard is None or shard.size == data_size, "the data ranks share the state out"
    assert tree is None or (shard is None and accumulation == tree.own_shards)
    engine: type[_WholeNetwork] = OneGraph if accumulation == 1 else Accumulating
    groups = () if data_group is None else (data_group,)
    if tree is not None:
        engine, groups = FixedOrder, tree.pairs
    return engine(
        loss,
        parameters,
        scalars=scalars,
        own_parts=accumulation,
        ranks=data_size,
        groups=groups,
        shard=shard,
        bucket_bytes=bucket_bytes,
    )


class _WholeNetwork:
    """See `Engine`.

    Args:
        loss: see `hpc.train.step.train_step`; with so many scalars.
        parameters: to train.
        own_parts: micro-batches of this rank.
        ranks: with other samples.
        groups: of `SumOverRanks`.
        shard: see `Engine`.
        bucket_bytes: largest bucket.
    """

    def __init__(
        self,
        loss: nn.Cell,
        parameters: Mapping[str, Parameter],
        *,
        scalars: int,
        own_parts: int,
        ranks: int,
        groups: Sequence[str],
        shard: OptimizerShard | None,
        bucket_bytes: int,
    ):
        self.parameters, self.shard = dict(parameters), shard
        self.own_parts, self.parts, self.ranks = own_parts, own_parts * ranks, ranks
        self.layout = make_layout(
            {name: p.shape for name, p in self.parameters.items()},
            bucket_bytes=bucket_bytes,
            row_multiple=1 if shard is None else shard.size,
        )
        is_shared = shard is not None and shard.size > 1
        self.reduction = SumOfOwnRows(shard) if is_shared else SumOverRanks(groups)
        self.scalars = 1 + scalars
        self.gradients = Gradients(loss, self.parameters, self.layout, has_scalars=scalars > 0)

    def collect(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(arrays)


class OneGraph(_WholeNetwork):
    """Forward, backward, reduction and update are one graph."""

    def connect(self, update: Update) -> None:
        self._whole = _WholeStep(self.gradients, update)

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        compiler(self._whole, blank_control(), *map(as_tensor, inputs))

    def step(self, control: Tensor, *inputs: np.ndarray | Tensor) -> Tensor:
        return self._whole(control, *map(as_tensor, inputs))


class Accumulating(_WholeNetwork):
    """One graph adds gradients up, another hands them on: they travel once per step."""

    def connect(self, update: Update) -> None:
        sums = Sums(self.layout, scalars=self.scalars)
        self._accumulate, self._apply = (
            _Accumulate(self.gradients, sums),
            UpdateFromSums(update, sums),
        )

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        compiler(self._accumulate, *micro_batch(inputs, 0, of=self.own_parts))
        compiler(self._apply, blank_control())

    def step(self, control: Tensor, *inputs: np.ndarray | Tensor) -> Tensor:
        for number in range(self.own_parts):
            self._accumulate(*micro_batch(inputs, number, of=self.own_parts))
        return self._apply(control)


class FixedOrder(_WholeNetwork):
    """Micro-batches, then ranks, are added up as one tree (`hpc.train.tree_sum`)."""

    def connect(self, update: Update) -> None:
        self._add, self._apply = AddParts(), _UpdateFromTotal(update)

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler) -> None:
        first = micro_batch(inputs, 0, of=self.own_parts)
        compiler(self.gradients, *first)
        total = self.gradients(*first)
        if self.own_parts > 1:
            compiler(self._add, *total, *total)
        compiler(self._apply, blank_control(), *total)

    def step(self, control: Tensor, *inputs: np.ndarray | Tensor) -> Tensor:
        parts = [partial(self._part, inputs, number) for number in range(self.own_parts)]
        return self._apply(control, *add_as_tree(parts, self._add))

    def _part(self, inputs: Inputs, number: int) -> tuple[Tensor, ...]:
        return self.gradients(*micro_batch(inputs, number, of=self.own_parts))


class Gradients(nn.Cell):
    """inputs -> gradient buckets, then `[1 + s]` loss and scalars, of these samples."""

    def __init__(self, loss, parameters, layout, *, has_scalars: bool):
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.has_scalars = has_scalars
        self.differentiate = ops.value_and_grad(
            loss, None, ms.ParameterTuple(parameters.values()), has_aux=has_scalars
        )
        self.flatten = Flatten(layout)

    def construct(self, *inputs):
        values, gradients = self.differentiate(*inputs)
        if not self.has_scalars:
            values = (values,)
        return (*self.flatten(gradients), as_vector(values))


class _WholeStep(nn.Cell):
    def __init__(self, gradients: Gradients, update: Update):
        super().__init__(auto_prefix=False)
        self.gradients, self.update = gradients, update

    def construct(self, control, *inputs):
        found = self.gradients(*inputs)
        return self.update(control, found[:-1], found[-1])


class _Accumulate(nn.Cell):
    def __init__(self, gradients: Gradients, sums: Sums):
        super().__init__(auto_prefix=False)
        self.gradients, self.sums = gradients, sums

    def construct(self, *inputs):
        found = self.gradients(*inputs)
        for b in range(len(found) - 1):
            ops.assign_add(self.sums.buckets[b], found[b])
        return ops.assign_add(self.sums.scalars, found[-1])


class _UpdateFromTotal(nn.Cell):
    def __init__(self, update: Update):
        super().__init__(auto_prefix=False)
        self.update = update

    def construct(self, control, *total):
        return self.update(control, total[:-1], total[-1])


def micro_batch(inputs: Inputs, number: int, *, of: int) -> list[Tensor]:
    """Return one of so many equal parts of a batch; the first axis of each input is the sample."""
    size, rest = divmod(inputs[0].shape[0], of)
    assert rest == 0, f"{inputs[0].shape[0]} samples in {of} micro-batches"
    return [as_tensor(array[number * size : (number + 1) * size]) for array in inputs]


def blank_control() -> Tensor:
    """Return the control of a step that is only compiled."""
    return Tensor(np.zeros(2, np.float32))


def as_tensor(array: np.ndarray | Tensor) -> Tensor:
    """Return an input on the device."""
    return array if isinstance(array, Tensor) else Tensor(np.asarray(array, order="C"))
