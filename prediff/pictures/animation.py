"""An animated GIF of one case: what was seen, and beside it what was forecast.

M member, T time, H height, W width. Frames are code / 255.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from prediff.data.quantity import VIL, Quantity
from prediff.pictures.colours import (
    MISSING_COLOUR,
    RADAR_COLOURS,
    legend_title,
    radar_rgb,
)
from prediff.pictures.ground import Ground

TILE = 256
GAP = 6
BAR = 26
LEGEND = 64
MOST_COLUMNS = 5
PAPER = (250, 250, 250)
INK = (20, 20, 20)
FORECAST_INK = (176, 0, 32)
GREYS = ((96, 96, 96), (140, 140, 140), (190, 190, 190), (225, 225, 225))
PALETTE = (*RADAR_COLOURS, MISSING_COLOUR, PAPER, INK, FORECAST_INK, *GREYS)


def case_animation(
    *,
    context: np.ndarray,
    observation: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    context_minutes: Sequence[float],
    lead_minutes: Sequence[float],
    ground: Ground | None = None,
    quantity: Quantity = VIL,
    members_shown: int = 2,
    milliseconds: int = 350,
) -> bytes:
    """Return an endless GIF: radar, and each system's first members and mean, side by side.

    While the context plays, every tile shows it and says that it is radar; then the radar goes on
    with what came and the others with what was forecast, under a red clock. Legend and scale stand
    below.

    Args:
        context: ``[T_in, H, W]``, the newest frame last.
        observation: ``[T, H, W]``.
        forecasts: ``[M, T, H, W]`` by system.
        context_minutes, lead_minutes: of the frames, relative to the newest context frame.
        ground: which way rows run, and the scale.
        quantity: whose codes the frames hold.
        members_shown: tiles of single members a system, at most.
        milliseconds: a frame; the last one stays four times as long.
    """
    ground = ground or Ground()
    tiles: list[tuple[str, np.ndarray]] = [("radar", observation)]
    for name, ensemble in forecasts.items():
        if len(ensemble) == 1:
            tiles.append((name, ensemble[0]))
            continue
        for member in range(min(members_shown, len(ensemble))):
            tiles.append((f"{name}, member {member + 1}", ensemble[member]))
        tiles.append((f"{name}, mean of {len(ensemble)}", ensemble.mean(axis=0)))
    seen = ["radar", *(f"radar (next: {label})" for label, _ in tiles[1:])]

    def page(
        tiles: Sequence[tuple[str, np.ndarray]], minutes: float, forecast: bool
    ) -> Image.Image:
        upright = [(label, ground.upright(frame)) for label, frame in tiles]
        return _page(upright, minutes=minutes, forecast=forecast, ground=ground, quantity=quantity)

    pages = [
        page([(label, frame) for label in seen], minutes, False)
        for frame, minutes in zip(context, context_minutes, strict=True)
    ]
    pages += [
        page([(label, frames[time]) for label, frames in tiles], minutes, True)
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
    tiles: Sequence[tuple[str, np.ndarray]],
    *,
    minutes: float,
    forecast: bool,
    ground: Ground,
    quantity: Quantity,
) -> Image.Image:
    height, width = tiles[0][1].shape
    # Whole multiples keep radar pixels square and sharp; large frames stay as they are.
    scale = max(1, TILE // max(height, width))
    bar = ground.scale_bar(width)
    height, width = height * scale, width * scale
    columns = min(len(tiles), MOST_COLUMNS)
    rows = -(-len(tiles) // columns)
    bottom = rows * (height + BAR) + BAR + GAP
    page = Image.new("RGB", (columns * (width + GAP) + GAP, bottom + LEGEND), PAPER)
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
        pixels = radar_rgb(frame, quantity=quantity).repeat(scale, axis=0).repeat(scale, axis=1)
        page.paste(Image.fromarray(pixels), (left, top + BAR))
    if bar is not None:
        length, text = bar
        draw.line((GAP, bottom + 8, GAP + length * scale, bottom + 8), fill=INK, width=3)
        draw.text((GAP, bottom + 14), f"{text}, north is up", fill=INK, font=small)
    _legend(draw, quantity, left=GAP, top=bottom + 34, font=ImageFont.load_default(size=11))
    return page


def _legend(
    draw: ImageDraw.ImageDraw,
    quantity: Quantity,
    *,
    left: int,
    top: int,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """Draw a box a colour with the level where it begins below it."""
    box = 21
    for number, colour in enumerate(RADAR_COLOURS):
        x = left + number * box
        draw.rectangle((x, top, x + box - 1, top + 9), fill=colour)
        draw.text((x, top + 11), f"{quantity.levels[number]:g}", fill=INK, font=font)
    x = left + len(RADAR_COLOURS) * box + GAP
    draw.rectangle((x, top, x + box - 1, top + 9), fill=MISSING_COLOUR, outline=GREYS[1])
    draw.text((x, top + 11), "missing", fill=INK, font=font)
    draw.text((left + 13 * box, top - 2), legend_title(quantity), fill=INK, font=font)
