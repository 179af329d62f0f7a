"""The end of every training step as one graph: reduce, clip, AdamW, EMA, report.

A reduction adds a rank's gradient buckets and scalars up with those of other ranks:
``construct(buckets, scalars) -> (buckets, scalars, sum of squares of the buckets of all ranks)``.
"""

from collections.abc import Sequence

import mindspore as ms
from mindspore import nn, ops

from hpc.train.buckets import LANES, Clear, FlatLayout, zeros
from hpc.train.optim import AdamW
from hpc.train.zero import OptimizerShard, ReduceScatter, SumOfSquares


class Update(nn.Cell):
    """control, this rank's buckets and scalars -> the step's report; changes the weights.

    ``construct(control [2], buckets, scalars [1 + s]) -> [4 + s]``: control is the learning rate
    and this rank's vote to stop; returned are loss, gradient norm, finiteness, votes and scalars,
    the same on all ranks. A step that is not finite on any rank changes nothing on any rank.

    Args:
        optimizer: of this rank's parameters.
        reduction: see above; it adds up gradients, losses and votes.
        share: times the sums over micro-batches and ranks makes means over the global batch.
        vote_share: times the sum of votes makes the share of ranks that ask to stop.
    """

    def __init__(self, optimizer: AdamW, reduction: nn.Cell, *, share: float, vote_share: float):
        super().__init__(auto_prefix=False)
        self.optimizer, self.reduction = optimizer, reduction
        self.share, self.vote_share = share, vote_share

    def construct(self, control, buckets, scalars):
        votes = control[1:2] * self.vote_share
        scalars = ops.concat((scalars * self.share, votes))
        buckets, scalars, squares = self.reduction(buckets, scalars)
        norm, is_finite = self.optimizer(
            buckets,
            control[0],
            ops.isfinite(scalars[0]),
            ops.sqrt(squares) * self.share,
            self.share,
        )
        found = as_vector((scalars[0], norm, is_finite, scalars[-1]))
        if scalars.shape[0] == 2:
            return found
        return ops.concat((found, scalars[1:-1]))


class Sums(nn.Cell):
    """Gradient buckets and scalars `[1 + s]`, added up over micro-batches."""

    def __init__(self, layout: FlatLayout, *, scalars: int):
        super().__init__(auto_prefix=False)
        self.buckets = ms.ParameterTuple(
            [
                zeros(f"gradient_sum.{b}", (layout.rows(b), LANES))
                for b in range(len(layout.buckets))
            ]
        )
        self.scalars = zeros("scalar_sum", (scalars,))


class UpdateFromSums(nn.Cell):
    """control -> what `Update` makes of the sums, which are emptied."""

    def __init__(self, update: Update, sums: Sums):
        super().__init__(auto_prefix=False)
        self.update, self.sums = update, sums
        self.clear = Clear()

    def construct(self, control):
        report = done = self.update(control, self.sums.buckets, self.sums.scalars)
        for bucket in self.sums.buckets:
            done = self.clear(bucket, done)
        ops.assign(self.sums.scalars, ops.zeros_like(self.sums.scalars))
        return ops.depend(report, done)


class SumOverRanks(nn.Cell):
    """The reduction over a data group; the scalars ride in the last bucket.

    Args:
        groups: one, or several of which each sums the sums of the one before; none for one rank.
    """

    def __init__(self, groups: Sequence[str]):
        super().__init__()
        self.sum_of_squares = SumOfSquares()
        self.is_alone = len(groups) == 0
        self.reduces = tuple(ops.AllReduce(ops.ReduceOp.SUM, group) for group in groups)

    def construct(self, buckets, scalars):
        if self.is_alone:
            return buckets, scalars, self.sum_of_squares(buckets)
        last = ops.reshape(buckets[-1], (-1,))
        count = last.shape[0]
        sums = ()
        for total in (*buckets[:-1], ops.concat((last, scalars))):
            for reduce in self.reduces:
                total = reduce(total)
            sums = (*sums, total)
        last = ops.reshape(ops.slice(sums[-1], (0,), (count,)), (-1, LANES))
        scalars = ops.slice(sums[-1], (count,), (scalars.shape[0],))
        buckets = (*sums[:-1], last)
        return buckets, scalars, self.sum_of_squares(buckets)


class SumOfOwnRows(nn.Cell):
    """The reduction of ZeRO: this rank's rows of the buckets in place of all rows."""

    def __init__(self, shard: OptimizerShard):
        super().__init__()
        self.sum_of_squares = SumOfSquares()
        self.own_rows = ReduceScatter(shard)
        self.reduce = ops.AllReduce(ops.ReduceOp.SUM, shard.group)

    def construct(self, buckets, scalars):
        sums = ()
        for bucket in buckets:
            sums = (*sums, self.own_rows(bucket))
        squares = ops.reshape(self.sum_of_squares(sums), (1,))
        both = self.reduce(ops.concat((squares, scalars)))
        return sums, both[1:], both[0]


def as_vector(scalars):
    """Return scalars as one float32 vector. For graphs."""
    columns = ()
    for scalar in scalars:
        columns = (*columns, ops.reshape(ops.cast(scalar, ms.float32), (1,)))
    return ops.concat(columns)
