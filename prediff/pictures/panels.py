"""One case on one page: context, truth, members, ensemble mean, probability; lead times across.

M member, T time, H height, W width. Frames are code / 255.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from hpc.errors import UserError
from prediff.data.quantity import VIL, Quantity
from prediff.pictures.colours import radar_rgb
from prediff.pictures.figures import new_figure
from prediff.pictures.ground import Ground
from prediff.pictures.legend import draw_legend, draw_scale_bar

PROBABILITY_MAP = "magma"


def panel_rows(
    *, name: str, ensemble: np.ndarray, members_shown: int
) -> list[tuple[str, np.ndarray]]:
    """Return the labelled rows ``[T, H, W]`` of one system: members, then their mean."""
    members = len(ensemble)
    if members == 1:
        return [(name, ensemble[0])]
    rows = [
        (f"{name}\nmember {number + 1}", ensemble[number])
        for number in range(min(members_shown, members))
    ]
    return [*rows, (f"{name}\nmean of {members}", ensemble.mean(axis=0))]


def case_panel(
    *,
    context: np.ndarray,
    observation: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    context_minutes: Sequence[float],
    lead_minutes: Sequence[float],
    ground: Ground | None = None,
    quantity: Quantity = VIL,
    title: str = "",
    members_shown: int = 3,
    probability_of: float | None = None,
    columns: int = 7,
) -> Figure:
    """Draw one case in SEVIR's colours, north up, with one legend and a scale.

    Args:
        context: ``[T_in, H, W]``, the newest frame last.
        observation: ``[T, H, W]``, what came then.
        forecasts: ``[M, T, H, W]`` by system; one member is one row, several are some members,
            their mean, and the share of members at or above `probability_of`.
        context_minutes, lead_minutes: of the frames, relative to the newest context frame.
        ground: which way rows run, and the scale.
        quantity: whose codes the frames hold.
        members_shown: rows of single members, at most.
        probability_of: the threshold of the row of probabilities, one of the quantity's; its second
            one by default.
        columns: frames shown in a row, at most; longer sequences are thinned, first and last kept.

    Raises:
        UserError: a forecast whose frames are not those of the observation.
    """
    for name, ensemble in forecasts.items():
        if ensemble.ndim != 4 or ensemble.shape[1:] != observation.shape:
            raise UserError(
                f"forecast '{name}' {ensemble.shape} does not fit the observation "
                f"{observation.shape}; give [member, time, height, width]"
            )
    ground = ground or Ground()
    context, observation = ground.upright(context), ground.upright(observation)
    forecasts = {name: ground.upright(ensemble) for name, ensemble in forecasts.items()}
    threshold = quantity.thresholds[1] if probability_of is None else probability_of
    code = np.float32(quantity.threshold_code(threshold))
    shown = _thinned(len(lead_minutes), columns)
    past = _thinned(len(context_minutes), columns)
    rows = [("radar\nbefore", context[past]), ("radar\nthen", observation[shown])]
    probabilities = []
    for name, ensemble in forecasts.items():
        rows += [
            (label, frames[shown])
            for label, frames in panel_rows(
                name=name, ensemble=ensemble, members_shown=members_shown
            )
        ]
        if len(ensemble) > 1:
            values = ensemble[:, shown] * np.float32(255)
            share = np.where(np.isnan(values), np.nan, values >= code).mean(axis=0)
            label = f"{name}\nP(≥ {quantity.threshold_label(threshold)})"
            probabilities.append((label, share))
    width = max(len(shown), len(past))
    height = len(rows) + len(probabilities)
    tall = observation.shape[-2] / observation.shape[-1]
    figure = new_figure(width=1.4 * width + 2.2, height=1.4 * tall * height + 0.9)
    figure.set_layout_engine("constrained", h_pad=0.02, w_pad=0.02, hspace=0.0, wspace=0.0)
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold")
    axes = np.array(figure.subplots(height, width, squeeze=False))
    for number, (label, frames) in enumerate(rows):
        times, kept = (context_minutes, past) if number == 0 else (lead_minutes, shown)
        titles = [f"{times[index]:+g} min" if times[index] else "now" for index in kept]
        images = [radar_rgb(frame, quantity=quantity) for frame in frames]
        _draw_row(axes[number], label=label, images=images, titles=titles if number < 2 else [])
    for number, (label, share) in enumerate(probabilities, start=len(rows)):
        _draw_row(axes[number], label=label, images=list(share), titles=[])
    draw_scale_bar(axes[0][0], ground, width=observation.shape[-1])
    missing = any(np.isnan(frames).any() for _, frames in rows)
    draw_legend(figure, axes[: len(rows)], quantity=quantity, missing=missing)
    if probabilities:
        bar = figure.colorbar(
            ScalarMappable(Normalize(0, 1), PROBABILITY_MAP),
            ax=axes[len(rows) :].ravel().tolist(),
            shrink=0.9,
            aspect=8 * len(probabilities),
            pad=0.01,
        )
        bar.set_label("share of members", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return figure


def _thinned(length: int, most: int) -> list[int]:
    """Return at most `most` indices below `length`, evenly spread, ends included."""
    if length <= most:
        return list(range(length))
    return np.rint(np.linspace(0, length - 1, most)).astype(int).tolist()


def _draw_row(
    axes: Sequence[Axes], *, label: str, images: Sequence[np.ndarray], titles: Sequence[str]
) -> None:
    """Draw colours ``[H, W, 3]``, or probabilities ``[H, W]``; axes left over stay empty."""
    for number, axis in enumerate(axes):
        axis.set_xticks([])
        axis.set_yticks([])
        if number >= len(images):
            axis.set_axis_off()
            continue
        axis.imshow(images[number], cmap=PROBABILITY_MAP, vmin=0, vmax=1, interpolation="nearest")
        for spine in axis.spines.values():
            spine.set_linewidth(0.4)
        if titles:
            axis.set_title(titles[number], fontsize=9, pad=3)
    axes[0].set_ylabel(label, fontsize=9, rotation=0, ha="right", va="center", labelpad=8)
