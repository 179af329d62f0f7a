"""The end of a pipelined step as one graph: reduce, clip, AdamW, EMA, report."""

from collections.abc import Sequence
from dataclasses import dataclass

import mindspore as ms
from mindspore import Parameter, nn, ops

from hpc.train.buckets import Clear
from hpc.train.optim import AdamW
from hpc.train.zero import ReduceScatter, SumOfSquares


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Communication groups of a rank; None where it would be alone."""

    world: str | None
    world_size: int
    data: str | None
    data_size: int
    holders: tuple[str | None, ...]
    """Of each bucket: the holders of its parameters in this pipeline."""


class PipelineUpdate(nn.Cell):
    """``construct(control [2])`` -> `[4 + scalars]`; changes the weights, empties the sums.

    control is the learning rate and this rank's vote to stop. Returned are loss, gradient norm,
    finiteness, votes and scalars, the same on all ranks: votes as the share of all ranks, the rest
    of the global batch. A step that is not finite on any stage changes nothing on any stage.

    Args:
        optimizer: of this rank's parameters.
        sums: gradient buckets, added up over micro-batches.
        scalar_sums: `[1 + scalars]`, added up likewise; zeros on ranks without the last chunk.
        owned: whether this rank counts a bucket in the norm.
        micro_batches: of a step.
        groups: whom to reduce with.
    """

    def __init__(
        self,
        optimizer: AdamW,
        *,
        sums: Sequence[Parameter],
        scalar_sums: Parameter,
        owned: Sequence[bool],
        micro_batches: int,
        groups: Groups,
    ):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.sum_of_squares, self.clear = SumOfSquares(), Clear()
        self.sums, self.scalar_sums = ms.ParameterTuple(sums), scalar_sums
        self.owned = tuple(owned)
        self.is_alone = groups.world is None
        self.share = 1.0 / (micro_batches * groups.data_size)
        """Times the sums over samples and ranks makes means."""
        self.vote_share = 1.0 / groups.world_size
        self.square_share = self.share**2
        # Data ranks find the same squares, or each those of its own rows.
        if not optimizer.is_shared_out:
            self.square_share = self.square_share / groups.data_size
        self.over_holders = nn.CellList([_Sum(group) for group in groups.holders])
        self.over_world = _Sum(groups.world)
        self.over_data = (
            ReduceScatter(optimizer.shard) if optimizer.is_shared_out else _Sum(groups.data)
        )

    def construct(self, control):
        # Each message waits for the one before: ranks with different graphs would otherwise be
        # free to send in different orders, and messages of one group would meet wrongly. Alone,
        # nothing waits: the framework copies a parameter that does.
        gradients, before = (), control
        squares = ops.zeros((), ms.float32)
        for b in range(len(self.sums)):
            gradient = self.sums[b]
            if not self.is_alone:
                gradient = ops.depend(gradient, before)
                gradient = self.over_data(self.over_holders[b](gradient))
                before = gradient
            gradients = (*gradients, gradient)
            if self.owned[b]:
                squares = squares + self.sum_of_squares((gradient,))
        mine = ops.concat(
            (
                ops.reshape(squares, (1,)) * self.square_share,
                control[1:2] * self.vote_share,
                self.scalar_sums * self.share,
            )
        )
        everywhere = self.over_world(ops.depend(mine, before))
        norm, votes, scalars = ops.sqrt(everywhere[0]), everywhere[1:2], everywhere[2:]
        _, is_updated = self.optimizer(
            gradients, control[0], ops.isfinite(scalars[0]), norm, self.share
        )
        is_updated = done = is_updated.astype(ms.float32)
        for b in range(len(self.sums)):
            done = self.clear(self.sums[b], done)
        ops.assign(self.scalar_sums, ops.zeros_like(self.scalar_sums))
        found = (
            scalars[:1],
            ops.reshape(norm, (1,)),
            ops.reshape(ops.depend(is_updated, done), (1,)),
            votes,
        )
        if scalars.shape[0] > 1:
            found = (*found, scalars[1:])
        return ops.concat(found)


class _Sum(nn.Cell):
    """Sum over a group, or nothing without one."""

    def __init__(self, group: str | None):
        super().__init__()
        self.alone = group is None
        if group is not None:
            self.reduce = ops.AllReduce(ops.ReduceOp.SUM, group)

    def construct(self, x):
        return x if self.alone else self.reduce(x)
