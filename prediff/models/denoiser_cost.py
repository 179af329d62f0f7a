"""What the denoiser costs by formula: operations, parameters and activations of each block.

P positions of a level's grid (T H W), C its channels, E width of the time vector, L cells of a
cuboid. A multiplication and its addition count as 2 operations; elementwise layers, norms and
softmax count none. Global vectors are not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from prediff.config import Config
from prediff.models.attention_patterns import attention_pattern
from prediff.models.levels import TIME_RATIO, LevelPlan, plan_levels
from prediff.models.unet_chunks import Block, unet_blocks

# Arrays of the size of the stream that are kept for a backward pass. They make 6.2 GB of a float32
# training step of the published network with batch 1, which is what PyTorch was measured to take.
TIME_BLOCK_ARRAYS = 12
SUB_LAYER_ARRAYS = 28


@dataclass(frozen=True)
class Cost:
    """Of one sample's forward pass, and of what is stored."""

    convolution: float = 0.0
    """Operations of convolutions larger than one cell."""
    linear: float = 0.0
    """Operations of affine maps."""
    attention: float = 0.0
    """Operations of the products with keys and values."""
    activations: float = 0.0
    """Numbers kept for the backward pass."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.convolution + other.convolution,
            self.linear + other.linear,
            self.attention + other.attention,
            self.activations + other.activations,
        )

    @property
    def operations(self) -> float:
        return self.convolution + self.linear + self.attention


class DenoiserCost:
    """The costs of a configuration's denoiser.

    Raises:
        UserError: the configuration describes no network.
    """

    def __init__(self, config: Config) -> None:
        settings = config.denoiser
        self.settings = settings
        self.frames_in, self.frames_out = config.data.context_frames, config.data.forecast_frames
        self.latent = (config.latent_size, config.latent_size, config.autoencoder.latent_channels)
        self.levels = plan_levels(
            grid=(config.window_frames, config.latent_size, config.latent_size),
            base_width=settings.base_width,
            depths=list(settings.depths),
            num_heads=settings.num_heads,
            width_growth=settings.width_exponent,
        )
        self.blocks = unet_blocks(settings.depths)
        self.embedding = TIME_RATIO * settings.base_width

    def cost(self, block: Block) -> Cost:
        """Return the cost of a block with the resizing, entry or exit that goes with it."""
        level = self.levels[block.level]
        positions, width = prod(level.grid), level.dim
        total = Cost(
            convolution=2 * 2 * 27 * width**2 * positions,
            linear=2 * self.embedding * width,
            activations=TIME_BLOCK_ARRAYS * positions * width,
        )
        for size, _, _ in self._sub_layers(level):
            cells = [-(-n // min(b, n)) * min(b, n) for n, b in zip(level.grid, size, strict=True)]
            volume = prod(min(b, n) for n, b in zip(level.grid, size, strict=True))
            total += Cost(
                linear=2 * positions * width * (3 + 1 + 8) * width,
                attention=4 * prod(cells) * width * volume,
                activations=SUB_LAYER_ARRAYS * positions * width,
            )
        return total + self._around(block)

    def parameters(self, blocks: Sequence[Block]) -> int:
        """Return how many parameters some blocks use, each counted once: time blocks are shared."""
        count = self._embedding_parameters() if blocks else 0
        for path, i in sorted({(block.path, block.level) for block in blocks}):
            count += self._residual_parameters(
                self.levels[i].dim, self.levels[i].dim, embedded=True
            )
            stacks = [block for block in blocks if (block.path, block.level) == (path, i)]
            count += len(stacks) * self._stack_parameters(self.levels[i])
        return count + sum(self._around_parameters(block) for block in blocks)

    def stream_numbers(self, block: Block) -> int:
        """Return the numbers that leave a block towards the next one, for one sample."""
        level = self.levels[block.level + (block.path == "down" and self._is_edge(block))]
        return prod(level.grid) * level.dim

    def skip_numbers(self, block: Block) -> int:
        """Return the numbers of the skip that leaves a block, 0 if none does."""
        if block.path == "up" or not self._is_edge(block):
            return 0
        level = self.levels[block.level]
        return prod(level.grid) * level.dim

    def _is_edge(self, block: Block) -> bool:
        """Whether a coarser level is next to the block: it is resized to or from there."""
        here = self.levels[block.level].depth - 1 if block.path == "down" else 0
        return block.level < len(self.levels) - 1 and block.repeat == here

    def _sub_layers(self, level: LevelPlan):
        return list(
            zip(*attention_pattern(self.settings.attention_pattern, level.grid), strict=True)
        )

    def _is_first(self, block: Block) -> bool:
        return block == self.blocks[0]

    def _is_last(self, block: Block) -> bool:
        return block == self.blocks[-1]

    def _around(self, block: Block) -> Cost:
        base = self.settings.base_width
        positions = prod(self.levels[0].grid)
        channels = self.latent[2]
        total = Cost()
        if self._is_first(block):
            total += Cost(
                convolution=2 * 27 * positions * base * (channels + 1 + base),
                linear=2 * positions * (channels + 1) * base,
                activations=TIME_BLOCK_ARRAYS * positions * base,
            )
        if self._is_last(block):
            total += Cost(linear=2 * self.frames_out * prod(self.latent) * base)
        if self._is_edge(block):
            fine, coarse = self.levels[block.level], self.levels[block.level + 1]
            if block.path == "down":
                total += Cost(linear=2 * prod(coarse.grid) * 4 * fine.dim * coarse.dim)
            else:
                total += Cost(convolution=2 * 9 * prod(fine.grid) * fine.dim * coarse.dim)
        return total

    def _around_parameters(self, block: Block) -> int:
        base, channels = self.settings.base_width, self.latent[2]
        count = 0
        if self._is_first(block):
            count += self._residual_parameters(channels + 1, base, embedded=False)
            count += sum(self.levels[0].grid) * base
        if self._is_last(block):
            count += base * channels + channels
        if self._is_edge(block):
            fine, coarse = self.levels[block.level], self.levels[block.level + 1]
            if block.path == "down":
                count += 8 * fine.dim + 4 * fine.dim * coarse.dim
                table = coarse
            else:
                count += 9 * coarse.dim * fine.dim + fine.dim
                table = fine
            if self.settings.hierarchical_position_embedding:
                count += sum(table.grid) * table.dim
        return count

    def _embedding_parameters(self) -> int:
        base, wide = self.settings.base_width, self.embedding
        return base * wide + wide + wide * wide + wide

    def _residual_parameters(self, before: int, after: int, *, embedded: bool) -> int:
        count = 2 * before + 27 * before * after + after + 2 * after + 27 * after**2 + after
        if embedded:
            count += self.embedding * after + after
        if before != after:
            count += before * after + after
        return count

    def _stack_parameters(self, level: LevelPlan) -> int:
        width, count = level.dim, 0
        for size, _, _ in self._sub_layers(level):
            table = prod(2 * b - 1 for b in size) * self.settings.num_heads
            count += 2 * width + 3 * width**2 + table + width**2 + width
            count += 2 * width + 4 * width**2 + 4 * width + 4 * width**2 + width
        return count
