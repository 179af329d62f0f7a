"""The pictures of a profile."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from prediff.pictures.figures import new_figure
from prediff.profiler.record import PARTS, ModuleWork, Peaks, Report

LABELLED = 12
COLOURS = {
    "compute": "#3b6fb6",
    "communication": "#d98c2b",
    "data": "#b8433f",
    "eager": "#7d4fa3",
    "host": "#8a8a8a",
}


def parts_figure(report: Report) -> Figure:
    """Return one bar a rank: where a step's seconds go."""
    figure = new_figure(width=9, height=0.9 + 0.35 * len(report.ranks))
    axes = figure.add_subplot()
    left = np.zeros(len(report.ranks))
    means = [rank.typical() for rank in report.ranks]
    names = [f"rank {rank.rank}" for rank in report.ranks]
    for part in PARTS:
        seconds = np.array([getattr(mean, part) for mean in means])
        axes.barh(names, 1e3 * seconds, left=1e3 * left, color=COLOURS[part], label=part)
        left += seconds
    axes.invert_yaxis()
    axes.set_xlabel("ms of a profiled step")
    axes.legend(ncols=len(PARTS), fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def roofline_figure(modules: Sequence[ModuleWork], peaks: Sequence[Peaks]) -> Figure:
    """Return rooflines with the modules that were timed as points below the first of them."""
    figure = new_figure(width=9, height=4.2)
    axes = figure.add_subplot()
    intensity = np.geomspace(0.25, 4096)
    for number, peak in enumerate(peaks):
        rate = np.minimum(peak.operations, intensity * peak.bandwidth)
        axes.loglog(intensity, rate / 1e9, "-" if number == 0 else ":", color="k", lw=1.2)
        axes.annotate(
            peak.name,
            (intensity[-1], rate[-1] / 1e9),
            xytext=(0, 4),
            textcoords="offset points",
            fontsize=7,
            ha="right",
        )
    kinds = _kinds(modules)
    for kind, work in kinds.items():
        axes.loglog(
            [w.operations / w.bytes for w in work],
            [w.operations / w.seconds / 1e9 for w in work],
            "o",
            ms=4,
            alpha=0.7,
            label=kind,
        )
    axes.set(xlabel="operations a byte", ylabel="GFLOP/s")
    if kinds:
        axes.legend(fontsize=7)
    return figure


def bounds_figure(work: Sequence[ModuleWork], peaks: Sequence[Peaks]) -> Figure:
    """Return the devices' rooflines with the kinds of modules as marks on them, none timed."""
    figure = new_figure(width=9, height=4.6)
    axes = figure.add_subplot()
    intensity = np.geomspace(0.25, 4096)
    for peak in peaks:
        axes.loglog(
            intensity,
            np.minimum(peak.operations, intensity * peak.bandwidth) / 1e9,
            label=f"{peak.name}",
        )
    for number, each in enumerate(work[:LABELLED]):
        x = each.operations / each.bytes
        axes.axvline(x, color="k", lw=0.5, alpha=0.4)
        axes.annotate(each.module, (x, 60 * 1.45**number), fontsize=7)
    axes.set(xlabel="operations a byte (float32; twice that in 16 bits)", ylabel="GFLOP/s")
    axes.legend(fontsize=7)
    return figure


def _kinds(modules: Sequence[ModuleWork]) -> dict[str, list[ModuleWork]]:
    """Group timed modules by the last word of their names that is no number."""
    kinds: dict[str, list[ModuleWork]] = {}
    for work in modules:
        words = [word for word in work.module.split(".") if not word.isdigit()]
        if work.seconds and work.bytes:
            kinds.setdefault(words[-1] if words else "network", []).append(work)
    return kinds


def memory_figure(report: Report) -> Figure | None:
    """Return the bytes of MindSpore's pool over the profiled steps, None without a trace."""
    ranks = [rank for rank in report.ranks if rank.pool_timeline]
    if not ranks:
        return None
    figure = new_figure(width=9, height=2.6)
    axes = figure.add_subplot()
    for rank in ranks:
        times, sizes = zip(*rank.pool_timeline, strict=True)
        axes.plot(times, np.array(sizes) / 1e6, lw=0.9, label=f"rank {rank.rank}")
    axes.set(xlabel="seconds since the first profiled step", ylabel="MB")
    axes.legend(fontsize=7)
    return figure
