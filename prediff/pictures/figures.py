"""Figures without pyplot: nothing global, so nothing leaks over a long run."""

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image


def new_figure(*, width: float, height: float, dpi: float = 110) -> Figure:
    """Return an empty figure of `width` x `height` inches that draws to memory."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@dataclass(frozen=True)
class Drawing:
    """A figure as pixels: drawing takes half a second, so it is done once for all uses."""

    rgb: np.ndarray
    """uint8 ``[H, W, 3]``, which TensorBoard's image tab takes."""

    @cached_property
    def png(self) -> bytes:
        """Return it as a PNG file."""
        buffer = BytesIO()
        Image.fromarray(self.rgb).save(buffer, format="png")
        return buffer.getvalue()


def draw(figure: Figure) -> Drawing:
    """Return the drawn figure; ``$`` in its texts is a dollar sign, not the begin of a formula.

    Only the numbers along logarithmic axes, which matplotlib writes itself, are formulas.
    """
    powers = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        if axis.get_scale() != "linear"
        for label in axis.findobj(Text)
        if label is not axis.label
    }
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(text in powers)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Drawing(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def figure_to_rgb(figure: Figure) -> np.ndarray:
    """Return the drawn figure as uint8 ``[H, W, 3]``."""
    return draw(figure).rgb


def figure_to_png(figure: Figure) -> bytes:
    """Return the drawn figure as PNG."""
    return draw(figure).png
