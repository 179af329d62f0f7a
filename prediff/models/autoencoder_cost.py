"""What the autoencoder and its adversary cost by formula, for one frame.

S pixels of a level, C its channels. Numbers kept for the backward pass are not counted.
"""

from itertools import pairwise

from prediff.config import Config
from prediff.models.cost import TRAINING_PASSES, Cost


def encoder_cost(config: Config) -> Cost:
    """Return the cost of encoding one frame into its posterior's moments."""
    settings, widths = config.autoencoder, config.autoencoder.widths
    moments = 2 * settings.latent_channels
    pixels = config.data.frame_size**2
    total = _convolution(pixels, 1, widths[0])
    for i, width in enumerate(widths):
        total += _residuals(pixels, widths[max(i - 1, 0)], width, settings.layers_per_block)
        if i < len(widths) - 1:
            pixels //= 4
            total += _convolution(pixels, width, width)
    total += _middle(pixels, widths[-1]) + _convolution(pixels, widths[-1], moments)
    return total + Cost(linear=2 * pixels * moments**2)


def decoder_cost(config: Config) -> Cost:
    """Return the cost of decoding one latent frame."""
    settings, widths = config.autoencoder, config.autoencoder.widths[::-1]
    pixels = config.latent_size**2
    total = Cost(linear=2 * pixels * settings.latent_channels**2)
    total += _convolution(pixels, settings.latent_channels, widths[0])
    total += _middle(pixels, widths[0])
    for i, width in enumerate(widths):
        total += _residuals(pixels, widths[max(i - 1, 0)], width, settings.layers_per_block + 1)
        if i < len(widths) - 1:
            pixels *= 4
            total += _convolution(pixels, width, width)
    return total + _convolution(pixels, widths[-1], 1)


def discriminator_cost(config: Config) -> Cost:
    """Return the cost of scoring one frame."""
    width, side = config.train_autoencoder.adversarial.base_width, config.data.frame_size
    widths = [1, width, 2 * width, 4 * width, 8 * width, 1]
    total = Cost()
    for (before, after), stride in zip(pairwise(widths), (2, 2, 2, 1, 1), strict=True):
        side = (side - 2) // stride + 1
        total += Cost(convolution=2 * 16 * side**2 * before * after)
    return total


def training_operations(config: Config) -> float:
    """Return the operations of training on one frame, with the adversary if there is one.

    The adversary scores the reconstruction and returns its gradient; then it is trained on the
    frame and on a new reconstruction.
    """
    both = encoder_cost(config).operations + decoder_cost(config).operations
    total = TRAINING_PASSES * both
    if config.train_autoencoder.adversarial.start_step is not None:
        score = discriminator_cost(config).operations
        total += 2 * score + both + 2 * TRAINING_PASSES * score
    return total


def _convolution(pixels: int, before: int, after: int) -> Cost:
    return Cost(convolution=2 * 9 * pixels * before * after)


def _residuals(pixels: int, before: int, after: int, layers: int) -> Cost:
    total = Cost(linear=2 * pixels * before * after if before != after else 0)
    for first, second in pairwise([before] + layers * [after]):
        total += _convolution(pixels, first, second) + _convolution(pixels, second, second)
    return total


def _middle(pixels: int, width: int) -> Cost:
    attention = Cost(linear=4 * 2 * pixels * width**2, attention=2 * 2 * pixels**2 * width)
    return _residuals(pixels, width, width, 2) + attention
