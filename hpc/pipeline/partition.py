"""Where to cut a network: blocks into the chunks of a pipeline, by what they cost."""

from collections.abc import Sequence
from functools import cache

from hpc.errors import UserError


def fold_blocks(
    costs: Sequence[float], *, stages: int, skips: Sequence[tuple[int, int]] = ()
) -> tuple[int, ...]:
    """Return the 2p+1 bounds of the chunks: chunk c holds blocks bounds[c] to bounds[c+1]-1.

    Of all cuts that keep every skip on one rank it is the one whose worst rank is best. A rank
    counts by what its two chunks cost, which bounds the speed, plus what the larger of them costs:
    uneven chunks do not interlock, and the pipeline waits. Exact, by dynamic programming from the
    two ends of the network to its middle.

    Args:
        costs: seconds or FLOPs of each block, in the order of the network.
        stages: p.
        skips: (block that makes it, block that takes it) of each skip connection.

    Raises:
        UserError: there are fewer than 2p blocks, or no cut keeps all skips on their ranks.
    """
    blocks = len(costs)
    if stages < 1 or 2 * stages > blocks:
        raise UserError(
            f"{stages} pipeline stages need {2 * stages} blocks and the network has {blocks}: "
            f"use at most {blocks // 2} stages, or deepen the network"
        )
    sums = [0.0]
    for cost in costs:
        sums.append(sums[-1] + cost)

    def stays(first: int, left: int, right: int, last: int) -> bool:
        """Whether blocks first..left-1 and right..last-1 hold both ends of their skips."""
        return all((first <= source < left) == (right <= target < last) for source, target in skips)

    @cache
    def best(stage: int, first: int, last: int) -> tuple[float, float, tuple[int, ...]] | None:
        """Return (worst rank, worst total, inner bounds) of ranks `stage` to p-1."""
        inner = stages - stage - 1
        found = None
        for left in range(first + 1, last - 2 * inner):
            for right in range(left + 2 * inner, last):
                if not inner and right != left:
                    break
                if not stays(first, left, right, last):
                    continue
                rest = best(stage + 1, left, right) if inner else (0.0, 0.0, ())
                if rest is None:
                    continue
                down, up = sums[left] - sums[first], sums[last] - sums[right]
                bounds = (left, *rest[2], right) if inner else (left,)
                total = down + up
                option = (max(total + max(down, up), rest[0]), max(total, rest[1]), bounds)
                if found is None or option < found:
                    found = option
        return found

    found = best(0, 0, blocks)
    if found is None:
        raise UserError(
            f"no cut into {2 * stages} chunks keeps all skip connections on one rank: "
            "use fewer stages"
        )
    return (0, *found[2], blocks)


def split_blocks(costs: Sequence[float], *, stages: int) -> tuple[int, ...]:
    """Return the p+1 bounds of the stages of a pipeline in a row, whose worst stage is best.

    Args:
        costs: seconds or FLOPs of each block, in the order of the network.
        stages: p.

    Raises:
        UserError: there are fewer than p blocks.
    """
    blocks = len(costs)
    if stages < 1 or stages > blocks:
        raise UserError(
            f"{stages} pipeline stages need as many blocks and the network has {blocks}: "
            f"use at most {blocks} stages, or deepen the network"
        )

    @cache
    def best(first: int, count: int) -> tuple[float, tuple[int, ...]]:
        """Return (worst stage, inner bounds) of the blocks from `first` on in `count` stages."""
        if count == 1:
            return sum(costs[first:]), ()
        options = []
        for last in range(first + 1, blocks - count + 2):
            worst, inner = best(last, count - 1)
            options.append((max(sum(costs[first:last]), worst), (last, *inner)))
        return min(options)

    return (0, *best(0, stages)[1], blocks)
