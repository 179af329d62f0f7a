"""What the alignment network costs by formula, for one sample."""

from itertools import pairwise
from math import prod

from prediff.config import Config
from prediff.models.cost import Cost
from prediff.models.level_cost import block_cost, entry_cost, merging_cost
from prediff.models.levels import TIME_RATIO, plan_levels


def alignment_cost(config: Config) -> Cost:
    """Return the cost of the mean intensities of one sample's forecast frames.

    Raises:
        UserError: the configuration describes no network.
    """
    settings, frames = config.alignment, config.data.forecast_frames
    levels = plan_levels(
        grid=(frames, config.latent_size, config.latent_size),
        base_width=settings.base_width,
        depths=list(settings.depths),
        num_heads=settings.num_heads,
        width_growth=settings.width_exponent,
    )
    total = entry_cost(levels[0], in_channels=config.autoencoder.latent_channels)
    for level in levels:
        for _ in range(level.depth):
            total += block_cost(
                level,
                embedding=TIME_RATIO * settings.base_width,
                pattern=settings.attention_pattern,
            )
    for fine, coarse in pairwise(levels):
        total += merging_cost(fine, coarse)
    _, rows, columns = levels[-1].grid
    tokens, width = rows * columns + 1, levels[-1].dim
    products = Cost(linear=2 * frames * (3 * tokens * width**2 + width))
    return total + products + Cost(attention=2 * 2 * frames * prod((tokens, width)))
