"""What the denoiser costs by formula: operations, parameters and activations of each block.

Global vectors are not counted.
"""

from collections.abc import Sequence
from math import prod

from prediff.config import Config
from prediff.models.cost import Cost
from prediff.models.level_cost import block_cost, entry_cost, merging_cost, sub_layers
from prediff.models.levels import TIME_RATIO, LevelPlan, plan_levels
from prediff.models.unet_chunks import Block, unet_blocks


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
        own = block_cost(
            self.levels[block.level],
            embedding=self.embedding,
            pattern=self.settings.attention_pattern,
        )
        return own + self._around(block)

    def total(self) -> Cost:
        """Return the cost of the whole network."""
        return sum((self.cost(block) for block in self.blocks), Cost())

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

    def _is_first(self, block: Block) -> bool:
        return block == self.blocks[0]

    def _is_last(self, block: Block) -> bool:
        return block == self.blocks[-1]

    def _around(self, block: Block) -> Cost:
        total = Cost()
        if self._is_first(block):
            total += entry_cost(self.levels[0], in_channels=self.latent[2] + 1)
        if self._is_last(block):
            width = self.settings.base_width
            total += Cost(linear=2 * self.frames_out * prod(self.latent) * width)
        if self._is_edge(block):
            fine, coarse = self.levels[block.level], self.levels[block.level + 1]
            if block.path == "down":
                total += merging_cost(fine, coarse)
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
        for size, _, _ in sub_layers(level, pattern=self.settings.attention_pattern):
            table = prod(2 * b - 1 for b in size) * self.settings.num_heads
            count += 2 * width + 3 * width**2 + table + width**2 + width
            count += 2 * width + 4 * width**2 + 4 * width + 4 * width**2 + width
        return count
