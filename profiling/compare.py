"""Two reports side by side: what got slower, and by how much.

    python -m profiling compare reports/before reports/after

Times of two runs differ by what else the machine did; both hosts' peaks stand above the table.
"""

from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from prediff.profiler.record import PARTS, Report, read_report

ROWS = 15


def changes(before: Report, after: Report) -> list[tuple[str, float, float]]:
    """Return (what, seconds before, seconds after) a step; the largest slow-down first.

    Parts of the step of rank 0, its operators by kind and phase, and forward operators by module.
    """
    old, new = _times(before), _times(after)
    rows = [(name, old.get(name, 0.0), new.get(name, 0.0)) for name in old.keys() | new.keys()]
    return sorted(rows, key=lambda row: (row[1] - row[2], row[0]))


def _times(report: Report) -> dict[str, float]:
    typical = report.ranks[0].typical()
    found: dict[str, float] = defaultdict(float)
    found["step"] = report.step_seconds
    for part in PARTS:
        found[f"part: {part}"] = getattr(typical, part)
    for operator in report.ranks[0].operators:
        found[f"{operator.kind}, {operator.phase}"] += operator.seconds
        if operator.phase == "forward":
            found[f"module {operator.module}"] += operator.seconds
    return dict(found)


def main(
    *,
    before: Path,
    after: Path,
) -> None:
    old_report, new_report = read_report(before), read_report(after)
    for report in (old_report, new_report):
        print(
            f"{report.name}: {report.stage}, commit {report.machine.get('commit', 'unknown')}, "
            f"{report.step_seconds:.3f} s/step, MFU {100 * report.mfu:.1f} % of "
            f"{report.peaks.operations / 1e9:.4g} GFLOP/s"
        )
    table = Table("", "before, ms", "after, ms", "difference, ms", "times")
    for name, old, new in changes(old_report, new_report)[:ROWS]:
        times = f"{new / old:.2f}" if old else "new"
        table.add_row(
            name, f"{1e3 * old:.2f}", f"{1e3 * new:.2f}", f"{1e3 * (new - old):+.2f}", times
        )
    Console().print(table)
