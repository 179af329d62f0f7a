"""The one legend of a picture of radar frames, and its scale bar."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from prediff.data.quantity import VIL, Quantity
from prediff.pictures.colours import (
    MISSING_COLOUR,
    legend_title,
    level_codes,
    level_labels,
    radar_colour_map,
)
from prediff.pictures.ground import Ground


def draw_legend(
    figure: Figure, axes: np.ndarray, *, quantity: Quantity = VIL, missing: bool = False
) -> None:
    """Draw the colour bar beside `axes`, with the colour of missing pixels if there are any."""
    colour_map, norm = radar_colour_map(quantity)
    rows = len(axes)
    bar = figure.colorbar(
        ScalarMappable(norm, colour_map),
        ax=axes.ravel().tolist(),
        shrink=0.9 if rows > 3 else 1.0,
        aspect=8 * rows,
        pad=0.01,
        spacing="uniform",
        ticks=level_codes(quantity).tolist(),
    )
    bar.set_ticklabels(level_labels(quantity))
    bar.set_label(legend_title(quantity), fontsize=8)
    bar.ax.tick_params(labelsize=8)
    if missing:
        red, green, blue = (channel / 255 for channel in MISSING_COLOUR)
        figure.legend(
            handles=[Patch(facecolor=(red, green, blue), edgecolor="0.5", label="missing")],
            loc="outside lower right",
            fontsize=8,
            frameon=False,
        )


def draw_scale_bar(axis: Axes, ground: Ground, *, width: int) -> None:
    """Draw a bar of some kilometres into the lower left of a frame of `width` pixels."""
    bar = ground.scale_bar(width)
    if bar is None:
        return
    length, text = bar
    bottom = axis.get_ylim()[0]
    left, line = 0.04 * width, bottom - 0.06 * width
    outline = [withStroke(linewidth=3, foreground="black")]
    axis.plot([left, left + length], [line, line], color="white", lw=2, path_effects=outline)
    axis.text(
        left,
        line - 0.03 * width,
        text,
        color="white",
        fontsize=7,
        va="bottom",
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )
