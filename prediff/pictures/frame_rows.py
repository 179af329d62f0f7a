"""Rows of single frames in VIL colours, such as frames above their reconstructions.

N frame, H height, W width. Frames are VIL / 255.
"""

from collections.abc import Mapping

import numpy as np

from prediff.pictures.colours import vil_colour_map
from prediff.pictures.figures import figure_to_rgb, new_figure


def frame_rows(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return a picture ``[height, width, 3]`` uint8 of labelled rows of frames ``[N, H, W]``."""
    columns = max(len(frames) for frames in rows.values())
    figure = new_figure(width=1.6 * columns + 0.4, height=1.7 * len(rows))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    colours, norm = vil_colour_map()
    for (label, frames), row in zip(rows.items(), axes, strict=True):
        row[0].set_ylabel(label)
        for frame, axis in zip(frames, row, strict=False):
            axis.imshow(frame * 255, cmap=colours, norm=norm)
            axis.set_xticks([])
            axis.set_yticks([])
    return figure_to_rgb(figure)
