"""An animated GIF of one case: what was seen, and beside it what was forecast.

M member, T time, H height, W width. Frames are VIL / 255.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from prediff.pictures.colours import MISSING_COLOUR, VIL_COLOURS, vil_rgb

TILE = 256
GAP = 6
BAR = 26
PAPER = (250, 250, 250)
INK = (20, 20, 20)
FORECAST_INK = (176, 0, 32)
GREYS = ((96, 96, 96), (140, 140, 140), (190, 190, 190), (225, 225, 225))
PALETTE = (*VIL_COLOURS, MISSING_COLOUR, PAPER, INK, FORECAST_INK, *GREYS)


def case_animation(
    *,
    context: np.ndarray,
    observation: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    context_minutes: Sequence[float],
    lead_minutes: Sequence[float],
    members_shown: int = 2,
    milliseconds: int = 350,
) -> bytes:
    """Return an endless GIF: radar, and each system's first members and mean, side by side.

    While the context plays, every tile shows it; then the radar goes on with what came and the
    others with what was forecast, under a red clock.

    Args:
        context: ``[T_in, H, W]``, the newest frame last.
        observation: ``[T, H, W]``.
        forecasts: ``[M, T, H, W]`` by system.
        context_minutes, lead_minutes: of the frames, relative to the newest context frame.
        members_shown: tiles of single members a system, at most.
        milliseconds: a frame; the last one stays four times as long.
    """
    tiles: list[tuple[str, np.ndarray]] = [("radar", observation)]
    for name, ensemble in forecasts.items():
        if len(ensemble) == 1:
            tiles.append((name, ensemble[0]))
            continue
        for member in range(min(members_shown, len(ensemble))):
            tiles.append((f"{name}, member {member + 1}", ensemble[member]))
        tiles.append((f"{name}, mean of {len(ensemble)}", ensemble.mean(axis=0)))
    pages = [
        _page([(label, frame) for label, _ in tiles], minutes=minutes, forecast=False)
        for frame, minutes in zip(context, context_minutes, strict=True)
    ]
    pages += [
        _page([(label, frames[time]) for label, frames in tiles], minutes=minutes, forecast=True)
        for time, minutes in enumerate(lead_minutes)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for colour in PALETTE for channel in colour])
    first, *others = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    buffer = BytesIO()
    first.save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=[milliseconds] * len(others) + [4 * milliseconds],
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def _page(
    tiles: Sequence[tuple[str, np.ndarray]], *, minutes: float, forecast: bool
) -> Image.Image:
    height, width = tiles[0][1].shape
    # Whole multiples keep radar pixels square and sharp; large frames stay as they are.
    scale = max(1, TILE // max(height, width))
    height, width = height * scale, width * scale
    columns = min(len(tiles), 5)
    rows = -(-len(tiles) // columns)
    page = Image.new(
        "RGB",
        (columns * (width + GAP) + GAP, rows * (height + BAR) + BAR + GAP),
        PAPER,
    )
    draw = ImageDraw.Draw(page)
    large, small = ImageFont.load_default(size=16), ImageFont.load_default(size=13)
    clock = f"{minutes:+g} min" if minutes else "now"
    draw.text(
        (GAP, 4),
        f"{clock}   {'forecast' if forecast else 'observed'}",
        fill=FORECAST_INK if forecast else INK,
        font=large,
    )
    for number, (label, frame) in enumerate(tiles):
        left = GAP + (number % columns) * (width + GAP)
        top = BAR + (number // columns) * (height + BAR)
        draw.text((left, top + 5), label, fill=INK, font=small)
        pixels = vil_rgb(frame).repeat(scale, axis=0).repeat(scale, axis=1)
        page.paste(Image.fromarray(pixels), (left, top + BAR))
    return page
