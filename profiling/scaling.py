"""Weak and strong scaling of a stage over processes, with the reason for what is lost.

    python -m profiling scaling --workers 1 --workers 2 [--config FILE]

Really starts `prediff profile` for every number of processes of this host, each with the same
number of threads. Strong scaling keeps the global batch, weak scaling gives every process the batch
of one. Processes beyond the host's cores share them: then the loss is the host's. On a cluster,
profile jobs of 1 to N nodes and give their reports with --report.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hpc.errors import UserError
from prediff.profiler.record import PARTS, Report, StepTimes, read_report

REPORTS = Path("reports")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One number of processes beside the smallest."""

    ranks: int
    step_seconds: float
    efficiency: float
    """Throughput a rank over that of the smallest job."""
    reason: str


def scaling(reports: Sequence[Report]) -> list[Point]:
    """Return how the reports of one stage scale, the fewest ranks first.

    Global batches may be equal (strong scaling) or grow with the ranks (weak).
    """
    ordered = sorted(reports, key=lambda report: len(report.ranks))
    first = ordered[0]
    return [
        Point(
            ranks=len(report.ranks),
            step_seconds=report.step_seconds,
            efficiency=_rate(report) / _rate(first),
            reason=_reason(first, report),
        )
        for report in ordered
    ]


def _rate(report: Report) -> float:
    return report.samples / report.step_seconds / len(report.ranks)


def _reason(first: Report, report: Report) -> str:
    """Say which parts of a step are longer than their share of the smallest job's."""
    if report is first:
        return ""
    before, after = _mean(first), _mean(report)
    share = report.samples / len(report.ranks) / (first.samples / len(first.ranks))
    more = {part: getattr(after, part) - share * getattr(before, part) for part in PARTS}
    lost = sum(seconds for seconds in more.values() if seconds > 0)
    large = sorted((p for p in PARTS if more[p] > 0.1 * lost), key=lambda part: -more[part])
    return "; ".join(
        f"{part} {1e3 * more[part]:+.3g} ms{_why(part, share, report)}" for part in large
    )


def _why(part: str, share: float, report: Report) -> str:
    cores, threads = report.machine.get("cores", "0"), report.machine.get("threads a rank", "")
    ranks = len(report.ranks)
    if part == "communication":
        least = min(rank.typical().communication for rank in report.ranks)
        return f", {1e3 * least:.3g} ms without waiting for slower ranks"
    if part == "compute" and threads.isdigit() and int(threads) * ranks > int(cores):
        return f", {ranks} ranks of {threads} threads share {cores} cores"
    if part == "compute" and share < 1:
        return ", the update and small operators do not shrink with the batch"
    return ""


def _mean(report: Report) -> StepTimes:
    typical = [rank.typical() for rank in report.ranks]
    return StepTimes(**{p: sum(getattr(t, p) for t in typical) / len(typical) for p in PARTS})


def run_job(
    name: str, *, workers: int, global_batch: int, threads: int, stage: str, options: Sequence[str]
) -> Report:
    """Profile a stage in some processes of this host.

    Raises:
        UserError: the job failed; its log says why.
    """
    command = [
        *(sys.executable, "-m", "prediff", "profile", "--workers", str(workers)),
        *("--stage", stage, "--name", name),
        *("--set", f"train_{stage}.global_batch={global_batch}", *options),
    ]
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise UserError(f"{workers} workers ended with {done.returncode}: see {REPORTS / name}/log")
    return read_report(REPORTS / name)


def print_points(title: str, points: Sequence[Point]) -> None:
    """Print a table."""
    table = Table("ranks", "s/step", "efficiency", "lost to", title=title)
    for point in points:
        table.add_row(
            str(point.ranks), f"{point.step_seconds:.3f}", f"{point.efficiency:.0%}", point.reason
        )
    Console().print(table)


def main(
    *,
    workers: Annotated[list[int], typer.Option(help="may be repeated")] = [1, 2],
    threads: Annotated[
        int | None, typer.Option(help="of each [default: cores / most workers]")
    ] = None,
    stage: str = "diffusion",
    batch: Annotated[int, typer.Option(help="global batch of strong scaling")] = 8,
    config: Path | None = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.key=value")] = None,
    reports: Annotated[
        list[Path] | None, typer.Option("--report", help="read these, start nothing")
    ] = None,
) -> None:
    if reports:
        print_points("given reports", scaling([read_report(path) for path in reports]))
        return
    rest = [*(("--config", str(config)) if config else ())]
    rest += [text for each in overrides or () for text in ("--set", each)]
    cores = len(os.sched_getaffinity(0))
    threads = threads or max(1, cores // max(workers))
    least = min(workers)
    for title, weak in (("strong scaling", False), ("weak scaling", True)):
        found = []
        for count in sorted(workers):
            whole = batch * count // least if weak else batch
            found.append(
                run_job(
                    f"scaling_{stage}_{count}_of_{whole}",
                    workers=count,
                    global_batch=whole,
                    threads=threads,
                    stage=stage,
                    options=rest,
                )
            )
        print_points(f"{title}, {threads} threads a rank", scaling(found))
