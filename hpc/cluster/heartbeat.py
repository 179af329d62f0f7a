"""Signs of progress: each rank promises when its next one comes, and the supervisor keeps count.

A thread that only shows that the process lives would beat on in a rank that waits forever for
another one, and would stop while a compiler holds Python's lock for minutes. So the training loop
itself gives the sign. Before a step it promises the next sign within some seconds; before anything
of unknown length (compilation, validation, writing a checkpoint) it promises nothing.

The supervisor counts those seconds on its own clock, from when it sees the sign: it would take a
host whose clock is behind for one that hangs.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from hpc.cluster.rank_log import read_process
from hpc.durable_files import write_at_once
from hpc.process_identity import start_time

SHORTEST_PROMISE = 40.0
STEPS_A_PROMISE = 10
SUSPENDED_SECONDS = 20.0
WRITE_SECONDS = 5.0


class Heartbeat:
    """The signs of one rank's training loop.

    A sign goes to its file every `WRITE_SECONDS` at most; a thread writes the last one of a rank
    that makes no further step.

    Args:
        folder: of this start's logs and signs; None without a supervisor that looks.
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
        self._lock = threading.Lock()
        self._pending: str | None = None
        self._written = -float("inf")
        if self._file is not None:
            threading.Thread(target=self._write_behind, daemon=True, name="heartbeat").start()

    def step(self, number: int) -> None:
        """Step `number` begins; the next sign comes before `SHORTEST_PROMISE` or ten steps."""
        now = self._clock()
        if self._last is not None:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        within = max(SHORTEST_PROMISE, STEPS_A_PROMISE * self._longest)
        self._give(number, within, at_once=now - self._written >= WRITE_SECONDS)

    def pause(self, number: int) -> None:
        """Something of unknown length begins before step `number`."""
        self._last = None
        self._give(number, None, at_once=True)

    def _give(self, step: int, within: float | None, *, at_once: bool) -> None:
        if self._file is None:
            return
        with self._lock:
            self._pending = json.dumps({"step": step, "within": within})
            if at_once:
                self._write()

    def _write(self) -> None:
        assert self._file is not None, "only with a supervisor"
        assert self._pending is not None, "there is something to write"
        write_at_once(self._file, self._pending)
        self._pending, self._written = None, self._clock()

    def _write_behind(self) -> None:
        while True:
            time.sleep(WRITE_SECONDS)
            with self._lock, suppress(OSError):
                if self._pending is not None:
                    self._write()


Position = tuple[int, float | None]
"""A rank's step, and in how many seconds its next sign is due; None where none was promised."""


class HangDetector:
    """Finds the rank that will not go on.

    Args:
        folder: of this start's logs and signs.
        ranks: those of this host.
        clock: seconds, of this host alone.
    """

    def __init__(
        self, folder: Path, *, ranks: Sequence[int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._ranks, self._clock = folder, ranks, clock
        self._suspended: dict[int, float] = {}
        self._processes: dict[int, int] = {}
        self._seen: dict[int, tuple[_Sign, float]] = {}

    def suspended_rank(self) -> tuple[int, str] | None:
        """Return a rank of this host that stays suspended, and how; at any time that is a fault."""
        now = self._clock()
        for rank in self._ranks:
            if not self._is_suspended(rank):
                self._suspended.pop(rank, None)
            elif now - self._suspended.setdefault(rank, now) > SUSPENDED_SECONDS:
                return rank, f"has been suspended (SIGSTOP) for {SUSPENDED_SECONDS:.0f} s"
        return None

    def misses_rank(self) -> bool:
        """Return whether a rank of this host that was seen has ended; looks at no file of a job."""
        return any(start_time(process) is None for process in self._processes.values())

    def positions(self) -> dict[int, Position]:
        """Return where the ranks of this host are."""
        now = self._clock()
        return {rank: self._newest(rank, now) for rank in self._ranks}

    def forgive(self, seconds: float) -> None:
        """Do not count seconds in which nobody looked: the whole job may have been suspended."""
        self._suspended = {rank: since + seconds for rank, since in self._suspended.items()}
        self._seen = {rank: (sign, when + seconds) for rank, (sign, when) in self._seen.items()}

    def _newest(self, rank: int, now: float) -> Position:
        sign = _read(self._folder, rank)
        if sign is None:
            return 0, None
        if rank not in self._seen or self._seen[rank][0] != sign:
            self._seen[rank] = (sign, now)
        within = None if sign.within is None else self._seen[rank][1] + sign.within - now
        return sign.step, within

    def _is_suspended(self, rank: int) -> bool:
        process = self._processes.get(rank) or read_process(self._folder, rank)
        if process is None:
            return False
        self._processes[rank] = process
        try:
            return psutil.Process(process).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False


def stuck_rank(positions: Mapping[int, Position], *, ranks: int) -> tuple[int, str] | None:
    """Return the rank that hangs, and how; None while all go on, or one is still not heard of.

    Late ranks count only while no rank pauses, because they may be waiting for that one; when one
    is late, the one behind is meant.

    Args:
        positions: of the ranks of all hosts.
        ranks: how many the job has.
    """
    dues = [due for _, due in positions.values() if due is not None]
    if len(dues) < ranks or min(dues) >= 0:
        return None
    # Whoever waits for the others began its step before they began theirs, and is late first.
    step, rank = min((step, rank) for rank, (step, _) in positions.items())
    return rank, f"hangs in step {step}, {-min(dues):.0f} s after the next was due"


def _heartbeat_file(folder: Path, rank: int) -> Path:
    return folder / f"rank_{rank}.heartbeat"


@dataclass(frozen=True)
class _Sign:
    step: int
    within: float | None
    written: int
    """The file's time, which only tells one sign from the next."""


def _read(folder: Path, rank: int) -> _Sign | None:
    try:
        with _heartbeat_file(folder, rank).open() as file:
            return _Sign(**json.load(file), written=os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None
