"""The result of a solver study as JSON, CSV, markdown and a picture."""

import csv
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from prediff.pictures.figures import figure_to_png, new_figure
from prediff.verification import Scoreboard, compare
from prediff.verification.headline import Headline, headlines, number

SHOWN = ("fair CRPS (", "CSI ≥ 16 ", "CSI ≥ 74 ", "spread / skill ", "small-scale power ")
"""Beginnings of the headline scores that the study compares."""

Row = dict[str, Any]


@dataclass
class Trial:
    """One solver at one number of steps: its scores, and the seconds of each case's sampling."""

    solver: str
    steps: int
    network_calls: int
    seconds: list[float]
    cpu_seconds: list[float]
    """Of the processor, in this process."""
    board: Scoreboard

    @property
    def name(self) -> str:
        return f"{self.solver}_{self.steps}"


def write_study(
    out: Path,
    *,
    title: str,
    trials: Sequence[Trial],
    reference: int,
    seconds: dict[str, float],
    refused: dict[str, str],
    replicates: int,
    seed: int,
) -> list[Path]:
    """Write study.json, study.csv, study.md and study.png; return their paths.

    Args:
        title: what was studied.
        trials: all on the same cases.
        reference: position of the trial that the others are compared with.
        seconds: of the parts that all have in common, encoding and decoding a case.
        refused: solvers that were left out, and why.
        replicates: of bootstrap and permutation, by event.
    """
    base = trials[reference]
    tables = {trial.name: trial.board.tables(replicates=replicates, seed=seed) for trial in trials}
    shown = [
        headline for headline in headlines(tables[base.name]) if headline.title.startswith(SHOWN)
    ]
    rows = [
        _row(trial, base, tables[trial.name], shown, replicates=replicates, seed=seed)
        for trial in trials
    ]
    study = {
        "title": title,
        "reference": base.name,
        "cases": base.board.cases,
        "events": base.board.events,
        "members": base.board.members[base.name],
        "replicates": replicates,
        "seconds_of_other_parts": seconds,
        "left_out": refused,
        "scores": {headline.title: headline.better for headline in shown},
        "rows": rows,
        "spectra": {
            name: table["systems"][name]["curves"]["spectra"] for name, table in tables.items()
        },
    }
    paths = [out / f"study.{suffix}" for suffix in ("json", "csv", "md", "png")]
    paths[0].write_text(json.dumps(study, indent=1) + "\n")
    _write_csv(paths[1], rows)
    paths[2].write_text(markdown(study))
    paths[3].write_bytes(figure_to_png(picture(study)))
    return paths


def _row(
    trial: Trial,
    base: Trial,
    tables: dict[str, Any],
    shown: Sequence[Headline],
    *,
    replicates: int,
    seed: int,
) -> Row:
    """Return the scores of a trial, and of each what it differs from the reference."""
    differences: dict[str, Any] = {}
    if trial is not base and base.board.events > 1:
        differences = compare(
            trial.board,
            base.board,
            systems=(trial.name, base.name),
            replicates=replicates,
            seed=seed,
        )
    scores = {}
    for headline in shown:
        entry = headline.entry(tables, trial.name)
        difference: Any = differences.get(headline.of, {})
        for key in headline.path:
            difference = difference.get(key, {})
        scores[headline.title] = {
            "value": entry["overall"],
            "interval": entry["interval"],
            "minus_reference": difference.get("difference"),
            "interval_of_difference": difference.get("interval"),
            "p_value": difference.get("p_value"),
        }
    median, cpu = statistics.median(trial.seconds), statistics.median(trial.cpu_seconds)
    return {
        "solver": trial.solver,
        "steps": trial.steps,
        "network_calls": trial.network_calls,
        "seconds": median,
        "times_faster": statistics.median(base.seconds) / median,
        "cpu_seconds": cpu,
        "times_less_cpu": statistics.median(base.cpu_seconds) / cpu,
        "scores": scores,
    }


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = (
            *("solver", "steps", "network_calls"),
            *("seconds", "times_faster", "cpu_seconds", "times_less_cpu"),
        )
        writer.writerow(
            [
                *columns,
                *("score", "value", "low", "high"),
                *("minus_reference", "difference_low", "difference_high", "p_value"),
            ]
        )
        for row in rows:
            for title, score in row["scores"].items():
                writer.writerow(
                    [
                        *(row[column] for column in columns),
                        title,
                        score["value"],
                        *score["interval"],
                        score["minus_reference"],
                        *(score["interval_of_difference"] or (None, None)),
                        score["p_value"],
                    ]
                )


def markdown(study: dict[str, Any]) -> str:
    """Return the study as a table with a line a solver and number of steps."""
    titles = list(study["scores"])
    crps = titles[0]
    reference = next(row for row in study["rows"] if _name(row) == study["reference"])
    head = [
        "solver", "steps", "calls", "s a case", "times faster", "CPU s a case", "times less",
        *titles, "CRPS against reference"
    ]  # fmt: skip
    lines = [
        f"Solvers on {study['title']}: {study['cases']} cases of {study['events']} events, "
        f"{study['members']} members; reference {study['reference']}. Brackets: 95 % by event; the "
        "last column is the paired difference in per cent of the reference.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'|'.join(['---'] * 2 + ['--:'] * (len(head) - 2))}|",
    ]
    base = reference["scores"][crps]["value"]
    for row in study["rows"]:
        cells = [
            row["solver"],
            str(row["steps"]),
            str(row["network_calls"]),
            f"{row['seconds']:.2f}",
            f"{row['times_faster']:.1f}",
            f"{row['cpu_seconds']:.2f}",
            f"{row['times_less_cpu']:.1f}",
        ]
        for title in titles:
            score = row["scores"][title]
            interval = score["interval"] if title == crps else (None, None)
            brackets = "" if interval[0] is None else f" [{', '.join(map(number, interval))}]"
            cells.append(number(score["value"]) + brackets)
        cells.append(_percent(row["scores"][crps], base))
        lines.append(f"| {' | '.join(cells)} |")
    parts = ", ".join(
        f"{part} {value:.2f} s" for part, value in study["seconds_of_other_parts"].items()
    )
    lines += ["", f"Beside sampling, a case takes: {parts}."]
    lines += [f"Left out: {name}, {reason}." for name, reason in study["left_out"].items()]
    return "\n".join(lines) + "\n"


def _percent(score: dict[str, Any], base: float) -> str:
    middle, low, high = _difference(score, base)
    return "-" if math.isnan(middle) else f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def picture(study: dict[str, Any]) -> Figure:
    """Draw the difference in CRPS, each score and the seconds over network calls, and spectra."""
    crps, *others = study["scores"]
    panels = [f"{crps}: difference to {study['reference']} (%)", *others, "seconds a case"]
    figure = new_figure(width=13, height=7)
    axes = figure.subplots(2, -(-(len(panels) + 1) // 2)).ravel()
    reference = next(row for row in study["rows"] if _name(row) == study["reference"])
    base = reference["scores"][crps]["value"]
    rows = [row for row in study["rows"] if row is not reference]
    for colour, solver in enumerate(dict.fromkeys(row["solver"] for row in rows)):
        mine = [row for row in rows if row["solver"] == solver]
        mine.sort(key=lambda row: row["network_calls"])
        calls = [row["network_calls"] for row in mine]
        style: dict[str, Any] = {"color": f"C{colour}", "marker": "o", "markersize": 4}
        differences = np.array([_difference(row["scores"][crps], base) for row in mine])
        middle, low, high = differences.T
        axes[0].errorbar(calls, middle, yerr=(middle - low, high - middle), capsize=2, **style)
        for axis, title in zip(axes[1:], panels[1:], strict=False):
            axis.plot(calls, [_value(row, title) for row in mine], label=solver, **style)
    for axis, title in zip(axes, panels, strict=False):
        level = 0.0 if axis is axes[0] else _value(reference, title)
        label = f"{study['reference']}, {reference['network_calls']} calls"
        axis.axhline(level, color="0.3", linestyle="--", linewidth=0.9, label=label)
        axis.set(xscale="log", xlabel="network calls")
        axis.set_title(title, fontsize=9)
        _ticks(axis, sorted({row["steps"] for row in rows}))
    axes[len(panels) - 1].set_yscale("log")
    axes[1].legend(fontsize=7)
    _draw_spectra(axes[len(panels)], study)
    for axis in axes[len(panels) + 1 :]:
        axis.set_axis_off()
    figure.suptitle(
        f"{study['title']}: {study['cases']} cases of {study['events']} events, "
        f"{study['members']} members"
    )
    return figure


def _difference(score: dict[str, Any], base: float) -> list[float]:
    """Return the paired difference and its bounds in per cent of the reference, NaN if unknown."""
    values = [score["minus_reference"], *(score["interval_of_difference"] or (None, None))]
    return [math.nan if value is None else 100 * value / base for value in values]


def _ticks(axis: Axes, values: Sequence[float]) -> None:
    axis.set_xticks(values, [f"{value:g}" for value in values], fontsize=8)
    axis.xaxis.set_minor_locator(NullLocator())


def _draw_spectra(axis: Axes, study: dict[str, Any]) -> None:
    """Power of the members over wavelength, at the steps nearest to 20 of each solver."""
    nearest: dict[str, Row] = {}
    for row in study["rows"]:
        if _name(row) == study["reference"]:
            continue
        best = nearest.setdefault(row["solver"], row)
        if abs(row["steps"] - 20) < abs(best["steps"] - 20):
            nearest[row["solver"]] = row
    spectra = study["spectra"]
    first = spectra[study["reference"]]
    wavelength = first["wavelength_pixels"]
    power = first["all_lead_times"]
    axis.loglog(wavelength, power["observation"], color="k", label="radar")
    axis.loglog(wavelength, power["members"], "--", color="0.3", label=study["reference"])
    for row in nearest.values():
        power = spectra[_name(row)]["all_lead_times"]
        axis.loglog(wavelength, power["members"], linewidth=1, label=_name(row))
    axis.invert_xaxis()
    axis.set(xlabel="wavelength (pixels)")
    axis.set_title("power of members", fontsize=9)
    axis.legend(fontsize=6)
    _ticks(axis, [size for size in (2, 4, 8, 16, 32, 64) if size <= max(wavelength)])


def _name(row: Row) -> str:
    return f"{row['solver']}_{row['steps']}"


def _value(row: Row, title: str) -> float:
    value = row["scores"][title]["value"] if title in row["scores"] else row["seconds"]
    return float("nan") if value is None else value
