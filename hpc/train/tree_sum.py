"""Gradients summed in one fixed order, so that any number of ranks gets the same bits.

Sums in floating point depend on their order, and a training that is unstable by itself, as that of
a VAE with an absolute error is, blows the last bit up to the third digit within twenty steps. Here
the global batch is cut into S equal shards, whose gradients are computed one at a time and added up
as a binary tree: first within a rank, then between ranks at distance 1, 2, 4, ... Which rank
holds a shard does not change the tree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mindspore import Tensor, nn

from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime

Total = tuple[Tensor, ...]


@dataclass(frozen=True)
class SummationTree:
    """This rank's part of the tree."""

    shards: int
    """S, of the global batch."""
    own_shards: int
    """Of this rank, a power of two."""
    pairs: tuple[str, ...]
    """Groups of two that this rank sums with, one after the other; empty for one process."""


def summation_tree(runtime: Runtime, mesh: Mesh, *, shards: int) -> SummationTree:
    """Return this rank's part of the tree; all ranks call it.

    Args:
        runtime: the ranks.
        mesh: their order; its data ranks divide the shards.
        shards: S, a power of two that divides the global batch.
    """
    own, rest = divmod(shards, mesh.data)
    assert rest == 0, f"{mesh.data} ranks do not divide {shards} shards"
    return SummationTree(shards=shards, own_shards=own, pairs=runtime.data_pairs(mesh))


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
