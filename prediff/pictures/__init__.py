"""Pictures of radar frames in SEVIR's colours, of cases, and of scores; north is up."""

from prediff.pictures.animation import case_animation
from prediff.pictures.colours import radar_rgb
from prediff.pictures.figures import figure_to_png, figure_to_rgb
from prediff.pictures.ground import Ground
from prediff.pictures.panels import case_panel

__all__ = [
    "Ground",
    "case_animation",
    "case_panel",
    "figure_to_png",
    "figure_to_rgb",
    "radar_rgb",
]
