"""ZeRO-1: each data rank keeps the optimizer's state of its own rows of every bucket.

R rows of a bucket `[R, 1024]`, d data ranks; each owns R/d rows, in rank order. Gradients arrive as
the own rows of their sum, the update is made there, and the new weights are gathered.

Source: Rajbhandari et al. 2020 ("ZeRO"), stage 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from hpc.cluster.gather import gather_in_group
from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.ops.fused import fused_or_none
from hpc.ops.native.adamw import NativeSumOfSquares


@dataclass(frozen=True)
class OptimizerShard:
    """Which part of the optimizer's state this rank keeps; by default all of it."""

    rank: int = 0
    """Among the data ranks."""
    size: int = 1
    group: str | None = None
    moves_parts: bool = False
    """Whether the backend can reduce-scatter and all-gather; else whole buckets are reduced."""

    def own_rows(self, bucket: np.ndarray) -> np.ndarray:
        """Return this rank's rows `[R/d, 1024]` of a bucket `[R, 1024]`."""
        # A copy: a view would keep the whole bucket in memory.
        return np.split(bucket, self.size)[self.rank].copy()

    def whole(self, buckets: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Return whole buckets `[R, 1024]` from every rank's rows; all data ranks call it."""
        gathered = []
        for rows in buckets:
            parts = gather_in_group(rows.tobytes(), group=self.group, size=self.size)
            gathered.append(np.frombuffer(b"".join(parts), np.float32).reshape(-1, rows.shape[1]))
        return gathered


def shard_over_data(runtime: Runtime, mesh: Mesh) -> OptimizerShard:
    """Return this rank's part of the state that its data group shares out."""
    data_rank, _ = mesh.coordinates(runtime.place.rank)
    return OptimizerShard(
        rank=data_rank,
        size=mesh.data,
        group=runtime.data_group(mesh),
        moves_parts=runtime.moves_parts,
    )


class OwnRows(nn.Cell):
    """A bucket `[R, 1024]` -> this rank's rows of it `[R/d, 1024]`."""

    def __init__(self, shard: OptimizerShard):
        super().__init__()
        self.rank, self.size = shard.rank, shard.size

    def construct(self, bucket):
        if self.size == 1:
            return bucket
        rows = bucket.shape[0] // self.size
        return ops.slice(bucket, (self.rank * rows, 0), (rows, bucket.shape[1]))


class ReduceScatter(nn.Cell):
    """A bucket `[R, 1024]` -> this rank's rows `[R/d, 1024]` of its sum over the data ranks."""

    def __init__(self, shard: OptimizerShard):
        super().__init__()
        self.scatters = shard.moves_parts
        if self.scatters:
            self.reduce = ops.ReduceScatter(ops.ReduceOp.SUM, shard.group)
        else:
            self.reduce = ops.AllReduce(ops.ReduceOp.SUM, shard.group)
            self.own_rows = OwnRows(shard)

    def construct(self, bucket):
        reduced = self.reduce(bucket)
        return reduced if self.scatters else self.own_rows(reduced)


class AllGather(nn.Cell):
    """Every rank's rows `[R/d, 1024]` -> the bucket `[R, 1024]`."""

    def __init__(self, shard: OptimizerShard):
        super().__init__()
        self.before, self.after = shard.rank, shard.size - 1 - shard.rank
        self.gathers = shard.moves_parts
        if shard.moves_parts:
            self.gather = ops.AllGather(shard.group)
        elif shard.size > 1:
            self.reduce = ops.AllReduce(ops.ReduceOp.SUM, shard.group)

    def construct(self, rows):
        if self.gathers:
            return self.gather(rows)
        if self.before + self.after == 0:
            return rows
        # Rows between zeros, added up over the ranks.
        count, width = rows.shape
        parts = (rows,)
        if self.before > 0:
            parts = (ops.zeros((self.before * count, width), ms.float32), *parts)
        if self.after > 0:
            parts = (*parts, ops.zeros((self.after * count, width), ms.float32))
        return self.reduce(ops.concat(parts))


class SumOfSquares(nn.Cell):
    """Buckets `[R, 1024]` -> the sum of the squares of all, a float32 scalar."""

    def __init__(self):
        super().__init__()
        self.fused = fused_or_none(NativeSumOfSquares)

    def construct(self, buckets):
        squares = ops.zeros((), ms.float32)
        for bucket in buckets:
            if self.fused is not None:
                squares = squares + self.fused(bucket).reshape(())
            else:
                # One after the other: the squares of one bucket are in memory, not those of all.
                after = ops.depend(bucket, squares)
                squares = squares + ops.square(after).sum(axis=1).sum()
        return squares
