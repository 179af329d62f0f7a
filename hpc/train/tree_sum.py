"""Gradients summed in one fixed order, so that any number of ranks gets the same bits.

Sums in floating point depend on their order, and a training that is unstable by itself, as that of
a VAE with an absolute error is, blows the last bit up to the third digit within twenty steps. Here
the global batch is cut into S equal shards, whose gradients are computed one at a time and added up
as a binary tree: first within a rank, then between ranks at distance 1, 2, 4, ... Which rank
holds a shard does not change the tree.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mindspore import Tensor, nn, ops

from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.train.buckets import LANES
from hpc.train.zero import SumOfSquares

Total = tuple[Tensor, ...]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SummationTree:
    """This rank's part of the tree."""

    shards: int
    """S, of the global batch."""
    own_shards: int
    """Of this rank, a power of two."""
    pairs: tuple[str, ...]
    """Groups of two that this rank sums with, one after the other; empty for one process."""


def summation_tree(
    runtime: Runtime, mesh: Mesh, *, shards: int, global_batch: int
) -> SummationTree | None:
    """Return this rank's part of the tree, or None if this mesh has none; all ranks call it.

    Args:
        runtime: the ranks.
        mesh: their order.
        shards: S, a power of two; fewer if the global batch does not divide into as many.
        global_batch: samples of a step.
    """
    shards = math.gcd(shards, global_batch)
    if shards % mesh.data:
        if runtime.is_first:
            logger.warning(
                "%d data ranks do not divide %d summation shards: losses will differ in the last "
                "bits from those of another number of ranks",
                mesh.data,
                shards,
            )
        return None
    return SummationTree(
        shards=shards, own_shards=shards // mesh.data, pairs=runtime.data_pairs(mesh)
    )


def add_as_tree(parts: Sequence[Callable[[], Total]], add: Callable[..., Total]) -> Total:
    """Return the sum of a power of two of parts, computed one at a time.

    At most log2(parts) + 1 of them are held at once.

    Args:
        parts: each computes one part.
        add: ``(*a, *b)`` -> the sums of the arrays of two parts.
    """
    held: list[Total] = []
    for number, part in enumerate(parts):
        total = part()
        while number & 1:
            total = add(*held.pop(), *total)
            number >>= 1
        held.append(total)
    assert len(held) == 1, f"{len(parts)} parts are no power of two"
    return held[0]


class AddParts(nn.Cell):
    """Arrays of one part and as many of another -> their sums."""

    def construct(self, *arrays):
        half = len(arrays) // 2
        sums = ()
        for i in range(half):
            sums = (*sums, arrays[i] + arrays[half + i])
        return sums


class TreeMean(nn.Cell):
    """Own sums of all shards of this rank -> means over all shards of all ranks.

    The scalars ride in the last bucket.
    ``construct(buckets, scalars) -> (buckets, scalars, sum of squares of the buckets)``.
    """

    def __init__(self, tree: SummationTree):
        super().__init__()
        self.share = 1.0 / tree.shards
        self.sum_of_squares = SumOfSquares()
        self.reduces = tuple(ops.AllReduce(ops.ReduceOp.SUM, group) for group in tree.pairs)

    def construct(self, buckets, scalars):
        last = ops.reshape(buckets[-1], (-1,))
        count = last.shape[0]
        means = ()
        for total in (*buckets[:-1], ops.concat((last, scalars))):
            for reduce in self.reduces:
                total = reduce(total)
            means = (*means, total * self.share)
        last = ops.reshape(ops.slice(means[-1], (0,), (count,)), (-1, LANES))
        scalars = ops.slice(means[-1], (count,), (scalars.shape[0],))
        buckets = (*means[:-1], last)
        return buckets, scalars, self.sum_of_squares(buckets)
