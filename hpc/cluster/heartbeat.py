"""Signs of progress: each rank promises when its next one comes, and the launcher keeps count.

A thread that only shows that the process lives would beat on in a rank that waits forever for
another one, and would stop while a compiler holds Python's lock for minutes. So the training loop
itself gives the sign. Before a step it promises the next sign within some seconds; before anything
of unknown length (compilation, validation, writing a checkpoint) it promises nothing.

The launcher counts those seconds on its own clock, from when it sees the sign: it would take a host
whose clock is behind for one that hangs.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from hpc.cluster.rank_log import read_process
from hpc.durable_files import write_at_once

SHORTEST_PROMISE = 40.0
STEPS_A_PROMISE = 10
SUSPENDED_SECONDS = 20.0


class Heartbeat:
    """The signs of one rank's training loop.

    Args:
        folder: of the ranks' logs; None without a launcher that looks.
        rank: whose signs.
        clock: seconds, of this host alone.
    """

    def __init__(
        self, folder: Path | None, *, rank: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = None if folder is None else _heartbeat_file(folder, rank)
        self._clock = clock
        self._last: float | None = None
        self._longest = 0.0

    def step(self, number: int) -> None:
        """Step `number` begins; the next sign comes before `SHORTEST_PROMISE` or ten steps."""
        now = self._clock()
        if self._last is not None:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        self._write(number, max(SHORTEST_PROMISE, STEPS_A_PROMISE * self._longest))

    def pause(self, number: int) -> None:
        """Something of unknown length begins before step `number`."""
        self._last = None
        self._write(number, None)

    def _write(self, step: int, within: float | None) -> None:
        if self._file is None:
            return
        write_at_once(self._file, json.dumps({"step": step, "within": within}))


class HangDetector:
    """Finds the rank that will not go on.

    Args:
        log_dir: folder of the ranks' logs and signs.
        ranks: how many there are.
        clock: seconds, of this host alone.
    """

    def __init__(
        self, log_dir: Path, *, ranks: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log_dir, self._ranks, self._clock = log_dir, ranks, clock
        self._suspended: dict[int, float] = {}
        self._seen: dict[int, tuple[_Sign, float]] = {}

    def stuck_rank(self) -> tuple[int, str] | None:
        """Return a rank that is stuck, and how; None if all go on.

        A rank that stays suspended is one, at any time. Late ranks count only while no rank pauses,
        because they may be waiting for that one; when one is late, the one behind is meant.
        """
        now = self._clock()
        for rank in range(self._ranks):
            if not _is_suspended(self._log_dir, rank):
                self._suspended.pop(rank, None)
            elif now - self._suspended.setdefault(rank, now) > SUSPENDED_SECONDS:
                return rank, f"has been suspended (SIGSTOP) for {SUSPENDED_SECONDS:.0f} s"
        heartbeats = {rank: self._newest(rank, now) for rank in range(self._ranks)}
        dues = [due for _, due in heartbeats.values() if due is not None]
        if len(dues) < self._ranks or now <= min(dues):
            return None
        # Whoever waits for the others began its step before they began theirs, and is late first.
        step, rank = min((step, rank) for rank, (step, _) in heartbeats.items())
        return rank, f"hangs in step {step}, {now - min(dues):.0f} s after the next was due"

    def _newest(self, rank: int, now: float) -> tuple[int, float | None]:
        """Return a rank's step, and when its next sign is due."""
        sign = _read(self._log_dir, rank)
        if sign is None:
            return 0, None
        if rank not in self._seen or self._seen[rank][0] != sign:
            self._seen[rank] = (sign, now)
        return sign.step, None if sign.within is None else self._seen[rank][1] + sign.within


def remove_heartbeats(log_dir: Path) -> None:
    """Forget the signs of an earlier job."""
    for file in log_dir.glob("rank_*.heartbeat"):
        file.unlink(missing_ok=True)


def _heartbeat_file(folder: Path, rank: int) -> Path:
    return folder / f"rank_{rank}.heartbeat"


@dataclass(frozen=True)
class _Sign:
    step: int
    within: float | None
    written: int
    """The file's time, which only tells one sign from the next."""


def _read(log_dir: Path, rank: int) -> _Sign | None:
    try:
        with _heartbeat_file(log_dir, rank).open() as file:
            return _Sign(**json.load(file), written=os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None


def _is_suspended(log_dir: Path, rank: int) -> bool:
    pid = read_process(log_dir, rank)
    if pid is None:
        return False
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
