"""The reduction of a pipeline: over the holders of a parameter, its data ranks, and all ranks."""

from collections.abc import Sequence
from dataclasses import dataclass

from mindspore import nn, ops

from hpc.train.zero import OptimizerShard, ReduceScatter, SumOfSquares


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Communication groups of a rank; None where it would be alone."""

    world: str | None
    data: str | None
    data_size: int
    holders: tuple[str | None, ...]
    """Of each bucket: the holders of its parameters in this pipeline."""


class SumOverPipeline(nn.Cell):
    """See `hpc.train.update`. Scalars are zeros on ranks without the last chunk, but for the votes.

    Args:
        groups: whom to reduce with.
        owned: whether this rank counts a bucket in the norm.
        shard: leaves this rank's rows of the buckets in place of all rows.
    """

    def __init__(self, groups: Groups, *, owned: Sequence[bool], shard: OptimizerShard | None):
        super().__init__()
        self.sum_of_squares = SumOfSquares()
        self.owned = tuple(owned)
        self.is_alone = groups.world is None
        is_shared = shard is not None and shard.size > 1
        # Data ranks find the same squares, or each those of its own rows.
        self.square_share = 1.0 if is_shared else 1.0 / groups.data_size
        self.over_holders = nn.CellList([_Sum(group) for group in groups.holders])
        self.over_data = ReduceScatter(shard) if is_shared else _Sum(groups.data)
        self.over_world = _Sum(groups.world)

    def construct(self, buckets, scalars):
        # Each message waits for the one before: ranks with different graphs would otherwise be
        # free to send in different orders, and messages of one group would meet wrongly. Alone,
        # nothing waits: the framework copies a parameter that does.
        sums, before = (), scalars
        squares = ops.zeros((1,), scalars.dtype)
        for b in range(len(buckets)):
            bucket = buckets[b]
            if not self.is_alone:
                bucket = ops.depend(bucket, before)
                bucket = self.over_data(self.over_holders[b](bucket))
                before = bucket
            sums = (*sums, bucket)
            if self.owned[b]:
                squares = squares + self.sum_of_squares((bucket,))
        mine = ops.concat((squares * self.square_share, scalars))
        everywhere = self.over_world(ops.depend(mine, before))
        return sums, everywhere[1:], everywhere[0]


class _Sum(nn.Cell):
    """Sum over a group, or nothing without one."""

    def __init__(self, group: str | None):
        super().__init__()
        self.alone = group is None
        if group is not None:
            self.reduce = ops.AllReduce(ops.ReduceOp.SUM, group)

    def construct(self, x):
        return x if self.alone else self.reduce(x)
