"""Plots of the tables that `Scoreboard.tables` returns; every one returns a figure."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from prediff.data.quantity import VIL, quantity_named
from prediff.pictures.colours import SYSTEM_COLOURS
from prediff.pictures.figures import new_figure
from prediff.verification.headline import Headline, headlines, units_of

FEWEST_PIXELS = 10
"""A frequency from fewer pixels says nothing of reliability."""


def _scored(tables: dict[str, Any]) -> str:
    """Return what is scored, as titles name it."""
    quantity = quantity_named(tables["protocol"].get("quantity", VIL.name))
    return "VIL" if quantity is VIL else quantity.title


def _colours(tables: dict[str, Any]) -> dict[str, str]:
    systems = tables["systems"]
    return {
        system: SYSTEM_COLOURS[number % len(SYSTEM_COLOURS)]
        for number, system in enumerate(systems)
    }


def _values(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def _plain(axis: Axes) -> None:
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def scores_by_lead_time(tables: dict[str, Any]) -> Figure:
    """Draw the headline scores over lead time, a panel each, with bootstrap bands.

    A score that is undefined at some lead time (too rare an event) is left out.
    """
    shown = [
        headline
        for headline in headlines(tables)
        if any(
            np.isfinite(_values(headline.entry(tables, system)["by_lead_time"])).all()
            for system in tables["systems"]
        )
    ]
    columns = 4
    rows = -(-len(shown) // columns)
    figure = new_figure(width=12.5, height=2.6 * rows + 0.5)
    axes = np.array(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axis, headline in zip(axes, shown, strict=False):
        _lead_time_panel(axis, tables, headline)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.supxlabel("lead time (minutes)", fontsize=9)
    return figure


def _lead_time_panel(axis: Axes, tables: dict[str, Any], headline: Headline) -> None:
    minutes = tables["lead_minutes"]
    for system, colour in _colours(tables).items():
        entry = headline.entry(tables, system)
        axis.plot(
            minutes,
            _values(entry["by_lead_time"]),
            color=colour,
            marker="o",
            markersize=3,
            linewidth=1.4,
            label=system,
        )
        low, high = (_values(bound) for bound in entry["interval_by_lead_time"])
        axis.fill_between(minutes, low, high, color=colour, alpha=0.15, linewidth=0)
    if headline.better == "near 1":
        axis.axhline(1.0, color="0.4", linewidth=0.8, linestyle="--")
    span = 0.04 * max(minutes[-1] - minutes[0], 1)
    axis.set_xlim(minutes[0] - span, minutes[-1] + span)
    name, _, of = headline.title.rpartition(" (")
    axis.set_title(f"{name}\n{of.rstrip(')')}; better: {headline.better}", fontsize=8.5)
    _plain(axis)


def reliability_diagram(tables: dict[str, Any], *, system: str) -> Figure:
    """Draw observed frequency against forecast probability, a panel a threshold.

    Bars below show how often each probability was issued. The dashed line is perfect reliability,
    the dotted one the event's frequency. Thresholds that were never observed are left out, and
    probabilities that were issued for fewer than 10 pixels.
    """
    found = tables["systems"][system]["curves"]["reliability"]
    curves = {key: curve for key, curve in found.items() if curve["event_frequency"]} or found
    figure = new_figure(width=2.35 * len(curves) + 0.6, height=4.1)
    axes = figure.subplots(2, len(curves), squeeze=False, height_ratios=(3, 1), sharex=True)
    colour = _colours(tables)[system]
    for column, (threshold, curve) in enumerate(curves.items()):
        top, bottom = axes[0][column], axes[1][column]
        probability = _values(curve["forecast_probability"])
        top.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=0.8)
        if curve["event_frequency"] is not None:
            top.axhline(curve["event_frequency"], color="0.5", linestyle=":", linewidth=0.8)
        pixels = _values(curve["pixels"])
        frequency = np.where(pixels >= FEWEST_PIXELS, _values(curve["observed_frequency"]), np.nan)
        top.plot(probability, frequency, color=colour, marker="o", markersize=3.5)
        top.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        top.set_title(f"{_scored(tables)} ≥ {threshold}{units_of(tables['protocol'])}", fontsize=9)
        bottom.bar(probability, pixels, width=0.7 / max(len(pixels) - 1, 1), color=colour)
        bottom.set_yscale("symlog", linthresh=1)
        bottom.set_yticks([1, 1e3, 1e6])
        bottom.yaxis.set_minor_locator(NullLocator())
        for axis in (top, bottom):
            _plain(axis)
            if column:
                axis.set_yticklabels([])
        bottom.set_ylim(0, 10 * max(pixels.max(), 1))
    axes[0][0].set_ylabel("observed frequency", fontsize=9)
    axes[1][0].set_ylabel("pixels", fontsize=9)
    figure.supxlabel(f"forecast probability (share of members, {system})", fontsize=9)
    return figure


def spread_and_skill(tables: dict[str, Any]) -> Figure:
    """Draw by lead time the error of each ensemble's mean, and the spread that should equal it.

    The spread is that of a finite ensemble: sqrt((M + 1) / M) times the members' deviation.
    """
    figure = new_figure(width=7.5, height=3.2)
    axis = figure.subplots()
    minutes = tables["lead_minutes"]
    for system, colour in _colours(tables).items():
        if tables["systems"][system]["members"] == 1:
            continue
        scores = tables["systems"][system]["scores"]["ensemble"]
        skill = _values(scores["skill"]["by_lead_time"])
        spread = skill * _values(scores["spread_skill_ratio"]["by_lead_time"])
        style: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 3}
        axis.plot(minutes, skill, label=f"{system}, error of the mean", **style)
        axis.plot(minutes, spread, linestyle="--", label=f"{system}, spread", **style)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("lead time (minutes)", fontsize=9)
    axis.set_ylabel("root mean square, code / 255", fontsize=9)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    _plain(axis)
    return figure


def roc_diagram(tables: dict[str, Any], *, system: str) -> Figure:
    """Draw hits against false alarms by threshold (Mason 1982); thresholds never seen are left out.

    Args:
        system: an ensemble.
    """
    curves = tables["systems"][system]["curves"]["roc"]
    figure = new_figure(width=5.2, height=4.6)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=0.8)
    shades = np.linspace(0.9, 0.35, max(len(curves), 1))
    colour = _colours(tables)[system]
    for shade, (threshold, curve) in zip(shades, curves.items(), strict=True):
        if curve["area"] is None:
            continue
        axis.plot(
            _values(curve["false_alarm_rate"]),
            _values(curve["hit_rate"]),
            color=colour,
            alpha=shade,
            marker="o",
            markersize=3,
            linewidth=1.3,
            label=f"≥ {threshold}: {curve['area']:.3f}",
        )
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.set_xlabel("false alarm rate", fontsize=9)
    axis.set_ylabel("hit rate", fontsize=9)
    axis.set_title(f"ROC of {system}, area by threshold", fontsize=9)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize=8, frameon=False, loc="lower right")
    _plain(axis)
    return figure


def rank_histogram(tables: dict[str, Any], *, system: str) -> Figure:
    """Draw where the observation falls among the members: all pixels, and those with rain."""
    curves = tables["systems"][system]["curves"]["rank_histogram"]
    figure = new_figure(width=8, height=2.9)
    axes = figure.subplots(1, 2, sharey=True)
    colour = _colours(tables)[system]
    for axis, (label, curve) in zip(axes, curves.items(), strict=True):
        share = _values(curve["share"])
        axis.bar(np.arange(len(share)), share * len(share), width=0.9, color=colour)
        axis.axhline(1.0, color="0.2", linestyle="--", linewidth=0.8)
        title = "all pixels" if label == "all" else "pixels with rain in truth or a member"
        axis.set_title(f"{title} ({curve['pixels']:,.0f})", fontsize=9)
        axis.set_xticks(range(0, len(share), max(1, len(share) // 10)))
        _plain(axis)
    axes[0].set_ylabel("frequency / flat", fontsize=9)
    figure.supxlabel(f"members below the observation ({system})", fontsize=9)
    return figure


def power_spectra(tables: dict[str, Any], *, kilometres_per_pixel: float | None = None) -> Figure:
    """Draw the power of members and means against the radar's, by wavelength.

    Solid lines are single members, dashed ones ensemble means, which are meant to be smooth.
    """
    figure = new_figure(width=9.5, height=3.6)
    axes = figure.subplots(1, 2, sharey=True)
    unit = kilometres_per_pixel or 1.0
    titles = {"all_lead_times": "all lead times", "last_lead_time": "last lead time"}
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        for number, (system, colour) in enumerate(_colours(tables).items()):
            curve = tables["systems"][system]["curves"]["spectra"]
            wavelength = _values(curve["wavelength_pixels"]) * unit
            power = curve[key]
            if number == 0:
                axis.plot(wavelength, _values(power["observation"]), color="k", lw=2, label="radar")
            single = tables["systems"][system]["members"] == 1
            label = system if single else f"{system}, members"
            axis.plot(wavelength, _values(power["members"]), color=colour, lw=1.4, label=label)
            if not single:
                axis.plot(
                    wavelength,
                    _values(power["ensemble_mean"]),
                    color=colour,
                    lw=1.2,
                    linestyle="--",
                    label=f"{system}, mean",
                )
        axis.set_xscale("log")
        if any((line.get_ydata() > 0).any() for line in axis.get_lines()):
            axis.set_yscale("log")
        axis.invert_xaxis()
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: _few(value)))
        axis.set_title(title, fontsize=9)
        _plain(axis)
        axis.tick_params(which="minor", labelsize=7)
    axes[0].legend(fontsize=8, frameon=False)
    axes[0].set_ylabel("power", fontsize=9)
    figure.supxlabel(f"wavelength ({'km' if kilometres_per_pixel else 'pixels'})", fontsize=9)
    return figure


def _few(value: float) -> str:
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def performance_diagram(tables: dict[str, Any]) -> Figure:
    """Draw detection against success ratio by threshold (Roebber 2009).

    Up and right is better; curves are equal CSI, rays equal frequency bias.
    """
    protocol = tables["protocol"]
    of = protocol["categorical_of"]
    figure = new_figure(width=5.6, height=5.2)
    axis = figure.subplots()
    grid = np.linspace(0.01, 1, 200)
    success, detection = np.meshgrid(grid, grid)
    csi = 1 / (1 / success + 1 / detection - 1)
    lines = axis.contour(
        success, detection, csi, levels=np.arange(0.1, 1, 0.1), colors="0.75", linewidths=0.7
    )
    axis.clabel(lines, fontsize=7, fmt="%.1f")
    for bias in (0.25, 0.5, 1, 2, 4):
        end = (1 / bias, 1.0) if bias > 1 else (1.0, bias)
        axis.plot([0, end[0]], [0, end[1]], color="0.75", linestyle=":", linewidth=0.8)
        axis.annotate(
            f"bias {bias:g}", end, fontsize=7, color="0.45", ha="right", va="top", clip_on=True
        )
    for system, colour in _colours(tables).items():
        scores = tables["systems"][system]["scores"][of]
        first = f"pool_{protocol['poolings'][0]}"
        names = [f"{threshold:g}" for threshold in protocol["thresholds"]]
        x, y = (
            _values([scores[name][first][threshold]["overall"] for threshold in names])
            for name in ("success_ratio", "probability_of_detection")
        )
        axis.plot(x, y, color=colour, marker="o", linewidth=1.2, markersize=4, label=system)
        for threshold, a, b in zip(names, x, y, strict=True):
            if np.isfinite(a + b):
                axis.annotate(
                    threshold, (a, b), fontsize=7, xytext=(4, 3), textcoords="offset points"
                )
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.set_xlabel("success ratio (1 - false alarm ratio)", fontsize=9)
    axis.set_ylabel("probability of detection", fontsize=9)
    name = _scored(tables)
    axis.set_title(f"{of.replace('_', ' ')}, by {name} threshold", fontsize=9, pad=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, frameon=True, framealpha=0.9, edgecolor="0.85", loc="upper right")
    return figure


def score_figures(
    tables: dict[str, Any], *, kilometres_per_pixel: float | None = None
) -> dict[str, Figure]:
    """Return all plots by name, as the report and TensorBoard show them."""
    figures = {
        "scores_by_lead_time": scores_by_lead_time(tables),
        "performance_diagram": performance_diagram(tables),
        "power_spectra": power_spectra(tables, kilometres_per_pixel=kilometres_per_pixel),
    }
    if any(found["members"] > 1 for found in tables["systems"].values()):
        figures["spread_and_skill"] = spread_and_skill(tables)
    for system, found in tables["systems"].items():
        if found["members"] > 1:
            figures[f"roc_{system}"] = roc_diagram(tables, system=system)
            figures[f"reliability_{system}"] = reliability_diagram(tables, system=system)
            figures[f"rank_histogram_{system}"] = rank_histogram(tables, system=system)
    return figures
