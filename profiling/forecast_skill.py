"""Score the starter model against what costs nothing, on real radar, and print the tables.

    python -m profiling forecast-skill --radar DIR --store scores.npz
    python -m profiling forecast-skill --radar DIR --store scores.npz --system starter

Every window of the `split` (valid: 2017) of both cadences is forecast by each system, 8 members.
Scores of a window are kept in the store, so a second call makes only what is missing; --again makes
the named systems again. Intervals: 95 %, bootstrap over groups (network and day).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import numpy as np  # isort: skip

from hpc.cluster.runtime import ALONE
from hpc.errors import UserError
from prediff.config import load_config
from prediff.forecasting.starter import starter_forecaster
from prediff.starter.package import starter_card
from prediff.verification import baselines
from prediff.verification.crps import fair_crps
from prediff.verification.spectra import radial_power
from profiling.starter_data import events

MEMBERS, CONTEXT, FRAMES = 8, 7, 6
TREES = {5: "64px_05min", 10: "64px_10min"}
BANDS = {"2-4": (2, 4), "4-8": (4, 8)}
"""Wavelengths in pixels."""
COLUMNS = (
    "crps",
    "error",
    "spread",
    *(f"{k} {b}" for b in BANDS for k in ("power", "radar")),
    "cpu",
)
RESAMPLES = 2000


@dataclass(frozen=True)
class Window:
    """A window to forecast, with its network, its group and the size of its pixels."""

    frames: np.ndarray
    minutes: int
    network: str
    group: str
    kilometres: float
    number: int


System = Callable[[Window], np.ndarray]
"""A window -> an ensemble ``[M, T, H, W]`` in [0, 1]."""


def windows_of(radar: Path, minutes: int, split: str) -> list[Window]:
    """Return the windows of a split, ``frames`` ``[T, H, W]`` float32 in [0, 1]."""
    tree = events(radar / TREES[minutes], split=split)
    return [
        Window(
            frames=frames.astype(np.float32) / np.float32(255),
            minutes=minutes,
            network=row["network"],
            group=row["group"],
            kilometres=float(row["width_m"]) / frames.shape[-1] / 1000,
            number=number,
        )
        for number, (row, frames) in enumerate(tree)
        if not row["network"].startswith("opera")
    ]


def systems() -> dict[str, Callable[[], System]]:
    """Return what makes each system ready to forecast, by name."""

    def persistence() -> System:
        return lambda w: baselines.persistence(
            context=w.frames[None, :CONTEXT], forecast_frames=FRAMES
        )[0]

    def extrapolation() -> System:
        return lambda w: baselines.extrapolation(
            context=w.frames[None, :CONTEXT], forecast_frames=FRAMES
        )[0]

    def steps() -> System:
        return lambda w: baselines.steps(
            context=w.frames[None, :CONTEXT],
            cases=np.array([w.number]),
            members=MEMBERS,
            forecast_frames=FRAMES,
            cadence_minutes=w.minutes,
            kilometres_per_pixel=w.kilometres,
            seed=0,
        )[0]

    def starter() -> System:
        texts = [*starter_card().settings, f"forecast.ensemble_members={MEMBERS}"]
        network = starter_forecaster(load_config(None, texts), sharing=ALONE)
        return lambda w: network(
            w.frames[:CONTEXT, ..., None], case_number=w.number, minutes=w.minutes
        )

    found = (persistence, extrapolation, steps, starter)
    return {make.__name__: make for make in found}


def score(ensemble: np.ndarray, truth: np.ndarray, seconds: float) -> np.ndarray:
    """Return the numbers of `COLUMNS` and then the counts of the ranks, of one window.

    The error is the squared error of the mean, the spread the variance of the members with the
    factor (M + 1) / M, so that the root of their ratio is 1 for an ensemble like the truth.
    """
    members = len(ensemble)
    if members == 1:
        crps, spread = np.abs(ensemble[0] - truth).mean(), 0.0
    else:
        crps = fair_crps(ensemble, truth).mean()
        spread = ensemble.var(axis=0, ddof=1).mean() * (members + 1) / members
    error = np.square(ensemble.mean(axis=0) - truth).mean()
    numbers = [crps, error, spread]
    wavenumber = np.arange(truth.shape[-1] // 2)
    for shortest, longest in BANDS.values():
        ring = (wavenumber * longest > truth.shape[-1]) & (wavenumber * shortest <= truth.shape[-1])
        for frames in (ensemble, truth[None]):
            numbers.append((radial_power(frames) * wavenumber * ring).sum(-1).mean())
    ranks = np.zeros(MEMBERS + 1)
    if members == MEMBERS:
        below, ties = (ensemble < truth).sum(0), (ensemble == truth).sum(0)
        wet = (truth > 0) | (ensemble > 0).any(0)
        draw = np.random.default_rng(0).random(truth.shape)
        rank = below + np.floor(draw * (ties + 1)).astype(int)
        ranks = np.bincount(rank[wet], minlength=MEMBERS + 1).astype(float)
    return np.array([*numbers, seconds, *ranks])


def make_scores(windows: Sequence[Window], system: System) -> np.ndarray:
    """Return ``[windows, numbers]`` of a system."""
    rows = []
    system(windows[0])  # compiles, and imports what is slow
    for window in windows:
        began = time.process_time()
        ensemble = system(window)
        seconds = time.process_time() - began
        rows.append(score(ensemble, window.frames[CONTEXT:], seconds))
    return np.stack(rows)


def interval(values: np.ndarray, groups: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % interval of a mean over windows, resampling groups."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(place, weights=values)
    counts = np.bincount(place).astype(float)
    draws = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def table(title: str, windows: Sequence[Window], found: dict[str, np.ndarray]) -> str:
    """Return a Markdown table of the systems on some windows."""
    groups = [window.group for window in windows]
    lines = [
        f"### {title}: {len(windows)} windows, {len(set(groups))} groups",
        "",
        "| system | CRPS x 1e4 | starter minus it, % | spread / skill | power 2-4 px | 4-8 px | "
        "outer ranks | CPU s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    ours = found.get("starter")
    for name, rows in found.items():
        values = dict(zip(COLUMNS, rows.T, strict=False))
        crps = values["crps"]
        difference = "-"
        if ours is not None and name != "starter":
            low, high = interval(ours[:, 0] - crps, groups)
            base = 100 / crps.mean()
            middle = (ours[:, 0] - crps).mean()
            difference = f"{base * middle:+.1f} [{base * low:+.1f}, {base * high:+.1f}]"
        ensemble = values["spread"].any()
        ratio = f"{np.sqrt(values['spread'].mean() / values['error'].mean()):.2f}"
        power = [values[f"power {b}"].mean() / values[f"radar {b}"].mean() for b in BANDS]
        ranks = rows[:, len(COLUMNS) :].sum(0)
        outer = "-"
        if ensemble:
            outer = f"{100 * ranks[0] / ranks.sum():.0f} + {100 * ranks[-1] / ranks.sum():.0f} %"
        lines.append(
            f"| {name} | {1e4 * crps.mean():.1f} | {difference} | {ratio if ensemble else '-'} | "
            f"{power[0]:.2f} | {power[1]:.2f} | {outer} | "
            f"{np.median(values['cpu']):.2f} |"
        )
    return "\n".join([*lines, ""])


def main(
    *,
    radar: Annotated[Path, typer.Option(help="folder of the radar trees")],
    store: Annotated[Path, typer.Option(help=".npz of the scores")],
    chosen: Annotated[
        list[str] | None, typer.Option("--system", help="may be repeated [default: all]")
    ] = None,
    split: Literal["valid", "train"] = "valid",
    again: Annotated[bool, typer.Option("--again", help="make the named systems again")] = False,
) -> None:
    if unknown := set(chosen or ()) - set(systems()):
        raise UserError(f"no system {unknown.pop()}: choose {', '.join(systems())}")
    stored = dict(np.load(store)) if store.exists() else {}
    for minutes in TREES:
        windows = windows_of(radar, minutes, split)
        for name in chosen or systems():
            key = f"{split} {minutes} {name}"
            if key not in stored or again:
                stored[key] = make_scores(windows, systems()[name]())
                np.savez(store, **stored)
        found = {
            name: stored[f"{split} {minutes} {name}"]
            for name in systems()
            if f"{split} {minutes} {name}" in stored
        }
        print(table(f"{minutes} minutes", windows, found))
        for network in sorted({window.network for window in windows}):
            members = [i for i, window in enumerate(windows) if window.network == network]
            part = {name: rows[members] for name, rows in found.items()}
            print(table(f"{minutes} minutes, {network}", [windows[i] for i in members], part))
