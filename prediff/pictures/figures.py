"""Figures without pyplot: nothing global, so nothing leaks over a long run."""

from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def new_figure(*, width: float, height: float, dpi: float = 110) -> Figure:
    """Return an empty figure of `width` x `height` inches that draws to memory."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_to_rgb(figure: Figure) -> np.ndarray:
    """Return the drawn figure as uint8 ``[H, W, 3]``, which TensorBoard's image tab takes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def figure_to_png(figure: Figure) -> bytes:
    """Return the drawn figure as PNG."""
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
