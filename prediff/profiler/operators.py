"""Read which operators ran when from the files of MindSpore's profiler, or of msprof.

On the CPU MindSpore 2.8 writes every execution with the full name of its operator: where in the
network it stands, and whether it belongs to the backward pass. Equal backward operators share one
compiled graph and so one name, that of the first: only forward times can be told by module.

Reading what an Ascend run leaves is written from the documentation of the formats and has not yet
been run on hardware.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prediff.profiler.record import OperatorTime

CPU_TRACE = "cpu_op_execute_timestamp_*.txt"
CPU_MEMORY = "cpu_ms_memory_record_*.txt"
ASCEND_TABLES = ("kernel_details.csv", "op_summary_*.csv")
_COLUMNS = {
    "name": ("Name", "Op Name"),
    "start": ("Start Time(us)", "Task Start Time(us)"),
    "duration": ("Duration(us)", "Task Duration(us)"),
}
COLLECTIVES = re.compile(r"All(Reduce|Gather|ToAll)|ReduceScatter|Broadcast$|Send|Receive|hcom_")
CUSTOM = "Custom"
"""What MindSpore calls every operator that is not its own."""
NATIVE = " (native)"
UPDATE = re.compile(r"/update-|/pack-|AdamW")
_WRAPPERS = {"Default", "Gradients", "recompute_Default", "gradients", "loss", "whole"}


@dataclass(frozen=True)
class Execution:
    """One run of one operator; times in seconds since 1970."""

    name: str
    start: float
    end: float

    @property
    def is_eager(self) -> bool:
        """Operators of graphs have the path of their Cell in their name."""
        return "/" not in self.name

    @property
    def kind(self) -> str:
        """Return the operator's type; one of ours has the name of the Cell that it is."""
        found = re.sub(r"-op\d+$", "", self.name.rsplit("/", 1)[-1])
        if found != CUSTOM:
            return found
        cells = [
            scope.rsplit("-", 1)[1]
            for scope in self.name.split("/")[:-1]
            if "-" in scope and not scope.startswith("Grad_")
        ]
        return f"{cells[-1].removeprefix('Native')}{NATIVE}" if cells else found

    @property
    def is_collective(self) -> bool:
        return COLLECTIVES.search(self.kind) is not None

    @property
    def phase(self) -> str:
        if self.is_eager:
            return "eager"
        if "Grad_" in self.name or self.name.startswith(("Gradients/", "recompute_")):
            return "backward"
        if self.name.startswith("Expand/"):
            return "backward" if "Grad" in self.name else "expanded"
        return "update" if UPDATE.search(self.name) else "forward"

    @property
    def module(self) -> str:
        """Return the path of the Cell below the loss, as in ``denoiser.entry.projection``."""
        scopes = [scope.rsplit("-", 1)[0] for scope in self.name.split("/")[:-1]]
        while scopes and scopes[0] in _WRAPPERS:
            scopes.pop(0)
        return ".".join(scope for scope in scopes if not scope.startswith("Grad_")) or "loss"


def read_executions(folder: Path) -> list[Execution]:
    """Return all executions that a profiler left below a folder, by start."""
    found = [run for path in sorted(folder.rglob(CPU_TRACE)) for run in _cpu(path)]
    for table in ASCEND_TABLES:
        found += [run for path in sorted(folder.rglob(table)) for run in _ascend(path)]
    return sorted(found, key=lambda run: run.start)


def _cpu(path: Path) -> Iterator[Execution]:
    for line in path.read_text().splitlines():
        name, _, runs = line.split(";", 2)
        for run in runs.split():
            start, milliseconds, _ = run.split(",")
            began = int(start) / 1e9
            yield Execution(name, began, began + float(milliseconds) / 1e3)


def _ascend(path: Path) -> Iterator[Execution]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            name, start, duration = (
                next(row[column] for column in names if column in row)
                for names in _COLUMNS.values()
            )
            began = float(start.strip()) / 1e6
            yield Execution(name, began, began + float(duration) / 1e6)


def read_memory(folder: Path, *, points: int = 400) -> list[tuple[float, float]]:
    """Return (seconds since 1970, bytes allocated) over time, thinned to the peaks of intervals."""
    rows = []
    for path in sorted(folder.rglob(CPU_MEMORY)):
        for line in path.read_text().splitlines()[1:]:
            stamp, allocated, *_ = line.split(",")
            rows.append((int(stamp) / 1e9, float(allocated)))
    rows.sort()
    size = max(1, -(-len(rows) // points))
    groups = [rows[i : i + size] for i in range(0, len(rows), size)]
    return [max(group, key=lambda row: row[1]) for group in groups]


def operator_times(executions: Iterable[Execution], *, steps: int) -> tuple[OperatorTime, ...]:
    """Add executions up by module, kind and phase; the slowest first."""
    sums: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for run in executions:
        entry = sums[run.module, run.kind, run.phase]
        entry[0] += 1
        entry[1] += run.end - run.start
    times = [
        OperatorTime(
            module=module, kind=kind, phase=phase, calls=calls / steps, seconds=seconds / steps
        )
        for (module, kind, phase), (calls, seconds) in sums.items()
    ]
    return tuple(sorted(times, key=lambda time: -time.seconds))
