"""Pictures of radar frames in SEVIR's colours, of cases, and of scores."""

from prediff.data.vil import vil_to_water
from prediff.pictures.animation import case_animation
from prediff.pictures.colours import vil_rgb
from prediff.pictures.figures import figure_to_png, figure_to_rgb
from prediff.pictures.panels import case_panel

__all__ = [
    "case_animation",
    "case_panel",
    "figure_to_png",
    "figure_to_rgb",
    "vil_rgb",
    "vil_to_water",
]
