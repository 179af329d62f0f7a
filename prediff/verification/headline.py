"""The dozen scores that a reader wants first, in files, in a terminal table and in the report."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from prediff.data.quantity import VIL, quantity_named
from prediff.verification.contingency import POOLED
from prediff.verification.ensemble import FAIR_CRPS, GAUSSIAN_CRPS, PLAIN_CRPS
from prediff.verification.score import ENSEMBLE, ENSEMBLE_MEAN, MEMBERS

LOWER, HIGHER, NEAR_ONE = "lower", "higher", "near 1"
_CRPS_TITLE = {FAIR_CRPS: "fair CRPS", PLAIN_CRPS: "CRPS", GAUSSIAN_CRPS: "Gaussian CRPS"}
COUNTED = ("critical_success_index", "heidke_skill_score", "frequency_bias")
_OF_TITLE = {ENSEMBLE: "ensemble", ENSEMBLE_MEAN: "ensemble mean", MEMBERS: "members"}


@dataclass(frozen=True)
class Headline:
    """Where one headline score stands in the tables, and which way is better."""

    title: str
    of: str
    path: tuple[str, ...]
    better: str
    reduction: str = ""
    """How counts of frames became one number, of scores that are made of counts."""

    @property
    def tag(self) -> str:
        """The title in the letters of a file's or a curve's name."""
        text = self.title.replace("≥ ", "from_").replace(" / ", "_per_").replace("/", "_per_")
        return re.sub(r"[^\w.-]+", "_", text).strip("_")

    def entry(self, tables: dict[str, Any], system: str) -> dict[str, Any]:
        """Return the score's entry (overall, interval, by_lead_time ...) for one system."""
        entry = tables["systems"][system]["scores"][self.of]
        for key in self.path:
            entry = entry[key]
        return entry

    def best(self, tables: dict[str, Any]) -> str | None:
        """Return the system with the best value; None if it has no rival, or an equal."""
        values = {system: self.entry(tables, system)["overall"] for system in tables["systems"]}
        values = {system: value for system, value in values.items() if value is not None}
        if len(values) < 2:
            return None
        key = {
            LOWER: lambda system: values[system],
            HIGHER: lambda system: -values[system],
            NEAR_ONE: lambda system: abs(values[system] - 1),
        }[self.better]
        first, second = sorted(values, key=key)[:2]
        return first if key(first) < key(second) else None


def units_of(protocol: dict[str, Any]) -> str:
    """Return the units behind a threshold, with a space; nothing for codes."""
    quantity = quantity_named(protocol.get("quantity", VIL.name))
    return "" if quantity.scored_in_code else f" {quantity.short_units}"


def headlines(tables: dict[str, Any]) -> list[Headline]:
    """Return the headline scores of the tables' protocol; each names what it is a score of."""
    protocol = tables["protocol"]
    of = protocol["categorical_of"]
    thresholds = [f"{threshold:g}" for threshold in protocol["thresholds"]]
    rain, storm = thresholds[0], thresholds[min(1, len(thresholds) - 1)]
    units = units_of(protocol)
    poolings = [f"pool_{pooling}" for pooling in protocol["poolings"]]
    crps = protocol["crps"]

    def one(title: str, better: str, of: str, *path: str) -> Headline:
        name = f"{title} ({_OF_TITLE[of]})"
        return Headline(
            title=name, of=of, path=path, better=better, reduction=reduction_of(protocol, path)
        )

    csi = "critical_success_index"
    return [
        one(_CRPS_TITLE[crps], LOWER, ENSEMBLE, crps, poolings[0]),
        *(
            one(
                f"{_CRPS_TITLE[crps]} of {name[5:]} px maxima", LOWER, ENSEMBLE, crps, f"max_{name}"
            )
            for name in poolings[1:]
        ),
        *(
            one(f"CSI ≥ {threshold}{units}", HIGHER, of, csi, poolings[0], threshold)
            for threshold in thresholds
        ),
        *(
            one(f"mean CSI, {name.replace('_', ' ')}", HIGHER, of, csi, name, "mean")
            for name in poolings
        ),
        one("mean HSS", HIGHER, of, "heidke_skill_score", poolings[0], "mean"),
        one(f"frequency bias ≥ {rain}{units}", NEAR_ONE, of, "frequency_bias", poolings[0], rain),
        one(f"frequency bias ≥ {storm}{units}", NEAR_ONE, of, "frequency_bias", poolings[0], storm),
        one(
            f"FSS ≥ {storm}{units}, 17 px",
            HIGHER,
            ENSEMBLE,
            "fractions_skill_score",
            storm,
            "scale_17",
        ),
        one(f"Brier skill ≥ {rain}{units}", HIGHER, ENSEMBLE, "brier_skill_score", rain),
        one("MSE", LOWER, ENSEMBLE_MEAN, "mean_squared_error"),
        one("MAE", LOWER, ENSEMBLE_MEAN, "mean_absolute_error"),
        one("SSIM", HIGHER, ENSEMBLE_MEAN, "structural_similarity"),
        one("SSIM", HIGHER, MEMBERS, "structural_similarity"),
        one("spread / skill", NEAR_ONE, ENSEMBLE, "spread_skill_ratio"),
        one("small-scale power", NEAR_ONE, MEMBERS, "small_scale_power_ratio"),
    ]


def reduction_of(protocol: dict[str, Any], path: tuple[str, ...]) -> str:
    """Return how the frames' counts of a contingency score were brought together, or nothing."""
    if path[0] not in COUNTED:
        return ""
    key = "counting" if path[1] == "pool_1" else "pooled_counting"
    return "pooled counts" if protocol[key] == POOLED else "mean over lead times"


ROUNDING = "Four decimals, six below 0.01"


def number(value: float | None) -> str:
    """Return a value by the one rule of rounding, or a dash where it is undefined."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.01 else f"{value:.6f}"


def skill_table(tables: dict[str, Any]) -> Table:
    """Return the headline scores as a table for the terminal; the best value is bold.

    Brackets hold the bootstrap interval by event.
    """
    protocol = tables["protocol"]["name"]
    left_out = len(tables.get("left_out", ()))
    reductions = {h.reduction: h for h in headlines(tables) if h.path[0] == COUNTED[0]}
    counts = " and ".join(reductions)
    table = Table(
        title=f"Scores, protocol {protocol}",
        caption=(
            f"{tables['cases']} cases of {tables['events']} events"
            f"{f', {left_out} left out' if left_out else ''}; brackets: "
            f"{tables['interval_level']:.0%} by event; CSI: {counts}"
        ),
    )
    table.add_column("score")
    table.add_column("better")
    for system, entry in tables["systems"].items():
        table.add_column(f"{system} ({entry['members']})", justify="right")
    for headline in headlines(tables):
        best = headline.best(tables)
        cells = []
        for system in tables["systems"]:
            entry = headline.entry(tables, system)
            value = number(entry["overall"])
            value = f"[bold]{value}[/bold]" if system == best else value
            if entry["interval"][0] is not None:
                low, high = map(number, entry["interval"])
                value += rf" [dim]\[{low}, {high}][/dim]"
            cells.append(value)
        table.add_row(headline.title, headline.better, *cells)
    return table


def records(tables: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every score as a flat row; ``lead_minutes`` is ``all`` or a number."""

    def leaves(entry: dict[str, Any], path: tuple[str, ...]):
        if "overall" in entry:
            yield path, entry
            return
        for key, value in entry.items():
            yield from leaves(value, (*path, key))

    for system, found in tables["systems"].items():
        for of, scores in found["scores"].items():
            for (score, *labels), entry in leaves(scores, ()):
                row = {"system": system, "of": of, "score": score, "label": "/".join(labels)}
                low, high = entry["interval"]
                yield {**row, "lead_minutes": "all", "value": entry["overall"]} | {
                    "low": low,
                    "high": high,
                }
                lows, highs = entry["interval_by_lead_time"]
                for number, minutes in enumerate(tables["lead_minutes"]):
                    yield {
                        **row,
                        "lead_minutes": minutes,
                        "value": entry["by_lead_time"][number],
                        "low": lows[number],
                        "high": highs[number],
                    }


def write_scores(tables: dict[str, Any], folder: str | Path) -> list[Path]:
    """Write ``scores.json`` (all, nested) and ``scores.csv`` (one row a value) into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_csv = folder / "scores.json", folder / "scores.csv"
    as_json.write_text(json.dumps(tables, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    columns = ("system", "of", "score", "label", "lead_minutes", "value", "low", "high")
    with as_csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(records(tables))
    return [as_json, as_csv]
