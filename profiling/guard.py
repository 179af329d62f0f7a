"""Tell whether a commit made something slower.

    python -m profiling guard --against HEAD~1
    python -m profiling guard --store

The ratios of `profiling/benchmarks/ratios.py` are measured for these sources and for another
commit's, in turns. Without --against they are compared with the stored ones of
`profiling/benchmarks/stored.json`, which --store renews. Exit code 1: something is slower in every
turn by more than the tolerance; 2: bad input.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hpc.errors import UserError
from prediff.profiler.machine import ROOT, describe_machine

STORED = ROOT / "profiling" / "benchmarks" / "stored.json"
TOLERANCE = 0.3
Ratios = Mapping[str, float]


def slower(
    old: Sequence[Ratios], new: Sequence[Ratios], *, tolerance: float = TOLERANCE
) -> dict[str, float]:
    """Return by how much what is slower in every turn is slower: 0.5 for half as long again.

    Noise moves some turns; a change moves all of them. So the best new ratio of a benchmark is
    compared with the worst old one.
    """
    found = {}
    for name in old[0].keys() & new[0].keys():
        worst, best = max(ratios[name] for ratios in old), min(ratios[name] for ratios in new)
        if best > (1 + tolerance) * worst:
            found[name] = best / worst - 1
    return found


def measured(root: Path, *, only: str | None) -> dict[str, float]:
    """Return the ratios of the sources below a folder, from a process of their own.

    Raises:
        UserError: they do not run.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "profiling", "ratios", "--json", file.name]
        command += ["--only", only] if only else []
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise UserError(f"the benchmarks of {root} end with {done.returncode}: {last}")
        return json.loads(Path(file.name).read_text())


def unpack(commit: str, folder: Path) -> None:
    """Put a commit's sources into a folder, with the benchmarks of now.

    Raises:
        UserError: there is no such commit.
    """
    command = ["git", "-C", str(ROOT), "archive", commit]
    archive = subprocess.run(command, capture_output=True, check=False)
    if archive.returncode:
        raise UserError(f"git archive {commit}: {archive.stderr.decode().strip().splitlines()[0]}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    shutil.rmtree(folder / "profiling", ignore_errors=True)
    shutil.copytree(ROOT / "profiling", folder / "profiling")


def compare(against: str, *, turns: int, only: str | None) -> tuple[list[Ratios], list[Ratios]]:
    """Return the ratios of another commit and of these sources, turn by turn."""
    old: list[Ratios] = []
    new: list[Ratios] = []
    with tempfile.TemporaryDirectory() as folder:
        unpack(against, Path(folder))
        for _ in range(turns):
            old.append(measured(Path(folder), only=only))
            new.append(measured(ROOT, only=only))
    return old, new


def _show(old: Sequence[Ratios], new: Sequence[Ratios], worse: Mapping[str, float]) -> None:
    table = Table("benchmark", "before", "now", "")
    for name in new[0]:
        before, now = (
            " ".join(f"{ratios[name]:.3f}" for ratios in each if name in ratios)
            for each in (old, new)
        )
        table.add_row(name, before, now, f"{worse[name]:.0%} slower" if name in worse else "")
    Console().print(table)


def main(
    *,
    against: Annotated[
        str | None, typer.Option(help="a commit; without it the stored ratios")
    ] = None,
    turns: Annotated[int, typer.Option(help="of each commit")] = 3,
    tolerance: float = TOLERANCE,
    only: Annotated[str | None, typer.Option(help="names of benchmarks, by commas")] = None,
    store: Annotated[bool, typer.Option("--store", help="renew the stored ratios")] = False,
) -> None:
    if against:
        old, new = compare(against, turns=turns, only=only)
    else:
        new = [measured(ROOT, only=only) for _ in range(turns)]
        if store:
            record = {"machine": describe_machine(), "turns": new}
            STORED.write_text(json.dumps(record, indent=1) + "\n")
            print(f"stored in {STORED}")
            return
        old = json.loads(STORED.read_text())["turns"]
    worse = slower(old, new, tolerance=tolerance)
    _show(old, new, worse)
    print(f"slower: {', '.join(worse)}" if worse else "nothing is slower")
    if worse:
        raise typer.Exit(1)
