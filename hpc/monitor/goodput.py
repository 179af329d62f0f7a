"""Where a run's time went, over all its restarts.

``goodput.jsonl`` in the run folder gets one line when an attempt begins and one for each stretch of
steps. A line is appended in one write, so a killed run leaves at worst a torn last line, which
reading skips. Seconds of a stretch that lies after the checkpoint from which the next attempt went
on are lost: they were computed again.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Category = Literal["install", "import", "compile", "data_wait", "step", "validation", "checkpoint"]
CATEGORIES: tuple[str, ...] = get_args(Category)
FILE = "goodput.jsonl"


class Ledger:
    """Adds up seconds by category and appends them to the run's file.

    Only rank 0 keeps one.

    Args:
        folder: of the run.
        resumed_step: optimizer steps already made when this attempt begins.
    """

    def __init__(self, folder: Path, *, resumed_step: int):
        self._path = folder / FILE
        self._seconds: dict[str, float] = {}
        self._step = resumed_step
        self._append({"event": "start", "step": resumed_step, "at": time.time()})
        self._sum = read_goodput(folder)

    def add(self, category: Category, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        assert category in CATEGORIES
        self._seconds[category] = self._seconds.get(category, 0.0) + seconds

    def flush(self, *, step: int) -> None:
        """Append what was counted since the last flush; call it at every checkpoint and at the end.

        Args:
            step: optimizer steps made so far.
        """
        seconds = {name: round(value, 4) for name, value in self._seconds.items()}
        self._append({"event": "steps", "from": self._step, "step": step, "seconds": seconds})
        self._step = step
        self._seconds = {}
        for name, value in seconds.items():
            self._sum.seconds[name] += value

    def total(self) -> "Goodput":
        """Return the sum of the file, without reading it again."""
        return self._sum

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record) + "\n"
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = "\n" + line
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Goodput:
    """The sum of a ledger."""

    seconds: dict[str, float]
    """Seconds by category that counted."""
    lost: float
    """Seconds whose results a restart threw away."""
    attempts: int

    @property
    def total(self) -> float:
        return sum(self.seconds.values()) + self.lost

    @property
    def fraction(self) -> float:
        """Share of the time spent in steps that counted; 0 when nothing was measured."""
        return self.seconds["step"] / self.total if self.total else 0.0

    def table(self) -> str:
        """Return the sum as text, one line a category."""
        rows = [*self.seconds.items(), ("lost to restarts", self.lost)]
        lines = [
            f"{name.replace('_', ' '):<17}{seconds:12.1f} s {100 * seconds / self.total:6.1f} %"
            for name, seconds in rows
            if seconds
        ]
        lines.append(f"{'goodput':<17}{100 * self.fraction:21.1f} %, {self.attempts} attempts")
        return "\n".join(lines)


def read_goodput(folder: Path) -> Goodput:
    """Add up the ledger of a run; an absent one is a run of no seconds."""
    stretches: list[dict[str, Any]] = []
    kept = dict.fromkeys(CATEGORIES, 0.0)
    lost, attempts = 0.0, 0
    for record in _records(folder / FILE):
        if record["event"] == "steps":
            stretches.append(record)
            continue
        attempts += 1
        counted = []
        for stretch in stretches:
            share = _share_sum(record["step"], stretch)
            total = sum(stretch["seconds"].values())
            lost += total * (1 - share)
            seconds = {name: value * share for name, value in stretch["seconds"].items()}
            counted.append(
                {**stretch, "step": min(stretch["step"], record["step"]), "seconds": seconds}
            )
        stretches = counted
    for stretch in stretches:
        for name, value in stretch["seconds"].items():
            kept[name] += value
    return Goodput(seconds=kept, lost=lost, attempts=attempts)


def _share_sum(step: int, stretch: dict[str, Any]) -> float:
    """Return the share of a stretch that lies before a step; all of one that made no steps."""
    length = stretch["step"] - stretch["from"]
    if length <= 0:
        return 1.0
    return min(1.0, max(0.0, (step - stretch["from"]) / length))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        yield record
