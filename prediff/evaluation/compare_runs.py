"""Two evaluated runs beside each other: paired differences, with intervals and p-values."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from hpc.errors import UserError
from prediff.run_folder import RunFolder, find_run
from prediff.verification.headline import headlines, number
from prediff.verification.scoreboard import Scoreboard, compare

SCOREBOARD = "scoreboard.npz"


@dataclass(frozen=True)
class RunComparison:
    """First minus second run.

    Attributes:
        runs, systems: what was compared.
        cases, events: how many both were scored on.
        protocol: of both, as in a score table.
        differences: as `prediff.verification.compare` returns them.
    """

    runs: tuple[str, str]
    systems: tuple[str, str]
    cases: int
    events: int
    protocol: dict[str, Any]
    differences: dict[str, Any]

    def table(self) -> Table:
        """Return the headline differences for the terminal."""
        names = [f"{s} of {r}" for s, r in zip(self.systems, self.runs, strict=True)]
        table = Table(
            title=f"{names[0]} minus {names[1]}, protocol {self.protocol['name']}",
            caption=(
                f"{self.cases} cases of {self.events} events; brackets: bootstrap by event; p: of "
                "no difference, permutation by event"
            ),
        )
        for column in ("score", "better", "difference", "95 %", "p"):
            table.add_column(column, justify="left" if column == "score" else "right")
        for headline in headlines({"protocol": self.protocol}):
            entry: Any = self.differences.get(headline.of, {})
            for key in headline.path:
                entry = entry.get(key, {})
            if entry and entry["difference"] is not None:
                low, high = map(number, entry["interval"])
                table.add_row(
                    headline.title,
                    headline.better,
                    number(entry["difference"]),
                    rf"\[{low}, {high}]",
                    number(entry["p_value"]),
                )
        return table

    def write(self, path: Path) -> None:
        """Write every difference as JSON.

        Raises:
            UserError: the place cannot be written.
        """
        content = {
            "runs": self.runs,
            "systems": self.systems,
            "cases": self.cases,
            "events": self.events,
            "protocol": self.protocol,
            "first_minus_second": self.differences,
        }
        try:
            path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error}") from None


def compare_runs(
    first: str | Path, second: str | Path, *, systems: Sequence[str] = ()
) -> RunComparison:
    """Compare a system of one evaluated run with one of another.

    Args:
        first, second: folders of runs, or their names below ``runs/``.
        systems: one name each; the run's own model if empty.

    Raises:
        UserError: no such run or system, a run without scores, other cases, lead times or
            protocols, or fewer than two events.
    """
    if len(systems) not in (0, 2):
        raise UserError(f"--system names {len(systems)} systems: give one for each run, or none")
    folders = find_run(first), find_run(second)
    a, b = (_scoreboard(folder) for folder in folders)
    chosen = (systems[0], systems[1]) if systems else (a.systems[0], b.systems[0])
    names = (folders[0].name, folders[1].name)
    return RunComparison(
        runs=names,
        systems=chosen,
        cases=a.cases,
        events=a.events,
        protocol=a.protocol.describe(),
        differences=compare(a, b, systems=chosen, names=names),
    )


def _scoreboard(folder: RunFolder) -> Scoreboard:
    path = folder.evaluation / SCOREBOARD
    if not path.exists():
        raise UserError(
            f"run {folder.name} has no scores: run `prediff evaluate --name {folder.name}` first"
        )
    return Scoreboard.load(path)
