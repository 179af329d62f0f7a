"""Rows of single frames in radar colours, such as frames above their reconstructions.

N frame, H height, W width. Frames are code / 255.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from prediff.data.quantity import VIL, Quantity
from prediff.pictures.colours import radar_rgb
from prediff.pictures.figures import figure_to_rgb, new_figure
from prediff.pictures.ground import Ground
from prediff.pictures.legend import draw_legend


def frame_rows(
    rows: Mapping[str, np.ndarray],
    *,
    titles: Sequence[str] = (),
    ground: Ground | None = None,
    quantity: Quantity = VIL,
) -> np.ndarray:
    """Return a picture ``[height, width, 3]`` uint8 of labelled rows of frames ``[N, H, W]``.

    Args:
        rows: by label.
        titles: of the columns.
        ground: which way rows run.
        quantity: whose codes the frames hold.
    """
    ground = ground or Ground()
    columns = max(len(frames) for frames in rows.values())
    figure = new_figure(width=1.6 * columns + 2.4, height=1.7 * len(rows) + 0.3)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (label, frames), row in zip(rows.items(), axes, strict=True):
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=8)
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
        for frame, axis in zip(frames, row, strict=False):
            axis.imshow(radar_rgb(ground.upright(frame), quantity=quantity))
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=9)
    draw_legend(figure, axes, quantity=quantity)
    return figure_to_rgb(figure)
