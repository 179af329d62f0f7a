"""What the one-pass network costs by formula."""

from itertools import pairwise

from prediff.config import Config
from prediff.models.cost import Cost
from prediff.models.one_pass_unet import GLOBAL_NOISE, views_of


def one_pass_cost(config: Config, *, members: int) -> Cost:
    """Return the cost of the members of one window: the encoder runs once, the decoder for each."""
    settings, data = config.one_pass, config.data
    widths, noise = settings.widths, settings.noise_channels
    cells = [(data.frame_size // (settings.patch << level)) ** 2 for level in range(len(widths))]
    patch = settings.patch**2
    views = views_of(data.context_frames, data.forecast_frames)
    levels = sum(
        settings.blocks * 2 * _product(count, width, width, side=3)
        for count, width in zip(cells, widths, strict=True)
    )
    steps = [
        (fine_cells, coarse_cells, fine, coarse)
        for (fine_cells, coarse_cells), (fine, coarse) in zip(
            pairwise(cells), pairwise(widths), strict=True
        )
    ]
    encoder = levels + sum(_product(c, f, f, side=3) for _, c, f, _ in steps)
    encoder_linear = _product(cells[0], views * patch, widths[0], side=1)
    encoder_linear += sum(_product(c, f, w, side=1) for _, c, f, w in steps)
    decoder = levels + sum(_product(n, w, w, side=3) for n, _, _, w in steps)
    decoder += _product(cells[0], widths[0], data.forecast_frames * patch, side=3)
    decoder_linear = _product(cells[-1], noise + GLOBAL_NOISE, widths[-1], side=1)
    decoder_linear += sum(_product(n, f + w + noise, f, side=1) for n, _, f, w in steps)
    return Cost(
        convolution=encoder + members * decoder,
        linear=encoder_linear + members * decoder_linear,
    )


def _product(cells: int, inputs: int, outputs: int, *, side: int) -> float:
    return 2.0 * cells * side * side * inputs * outputs
