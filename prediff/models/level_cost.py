"""What the parts cost that the denoiser and the alignment network share; see `levels`.

P positions of a level's grid (T H W), C its channels, E width of the time vector, L cells of a
cuboid.
"""

from math import prod

from prediff.models.attention_patterns import attention_pattern
from prediff.models.cost import Cost
from prediff.models.levels import TIME_RATIO, LevelPlan

# Arrays of the size of the stream that are kept for a backward pass. They make 6.2 GB of a float32
# training step of the published network with batch 1, which is what PyTorch was measured to take.
TIME_BLOCK_ARRAYS = 12
SUB_LAYER_ARRAYS = 28


def sub_layers(level: LevelPlan, *, pattern: str):
    """Return (cuboid size, strategy, shift) of each sub-layer of a level's stacks."""
    return list(zip(*attention_pattern(pattern, level.grid), strict=True))


def entry_cost(level: LevelPlan, *, in_channels: int) -> Cost:
    """Return the cost of the projection of C_in channels onto the finest level, and of the time."""
    positions, width = prod(level.grid), level.dim
    embedding = TIME_RATIO * width
    return Cost(
        convolution=2 * 27 * positions * width * (in_channels + width),
        linear=2 * positions * in_channels * width + 2 * embedding * (width + embedding),
        activations=TIME_BLOCK_ARRAYS * positions * width,
    )


def block_cost(level: LevelPlan, *, embedding: int, pattern: str) -> Cost:
    """Return the cost of a time block and a stack."""
    positions, width = prod(level.grid), level.dim
    total = Cost(
        convolution=2 * 2 * 27 * width**2 * positions,
        linear=2 * embedding * width,
        activations=TIME_BLOCK_ARRAYS * positions * width,
    )
    for size, _, _ in sub_layers(level, pattern=pattern):
        sides = [min(b, n) for n, b in zip(level.grid, size, strict=True)]
        cells = prod(-(-n // b) * b for n, b in zip(level.grid, sides, strict=True))
        total += Cost(
            linear=2 * width**2 * (4 * cells + 8 * positions),
            attention=4 * cells * width * prod(sides),
            activations=SUB_LAYER_ARRAYS * positions * width,
        )
    return total


def merging_cost(fine: LevelPlan, coarse: LevelPlan) -> Cost:
    """Return the cost of joining 2x2 cells."""
    return Cost(linear=2 * prod(coarse.grid) * 4 * fine.dim * coarse.dim)
