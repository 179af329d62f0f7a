"""Asking a run to stop: Ctrl-C, a signal, a file or a time limit, polled between steps.

Every rank polls and passes its answer as a vote into the training step (`hpc.train.step`), which
adds up the votes with the gradients; so all ranks learn after the same step that one of them was
asked. They then save a checkpoint and end with `STOPPED_EXIT_CODE`.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from hpc.cluster.terminal import ERROR, OUT, silence

STOPPED_EXIT_CODE = 75
"""Stopped before the end and resumable: start the same command again (EX_TEMPFAIL)."""

logger = logging.getLogger(__name__)


class StopSignals:
    """Counts the signals that ask a supervisor to stop, as a context manager.

    SIGINT, SIGTERM and SIGHUP count. A SIGHUP that was to be ignored (`nohup`) stays ignored; else
    the terminal is gone, and what is written there goes nowhere.
    """

    def __init__(self) -> None:
        self.count = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        for number in _asking_signals():
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *unused: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if number == signal.SIGHUP:
            _leave_terminal()


def _asking_signals() -> list[int]:
    asking = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asking.append(signal.SIGHUP)
    return [int(number) for number in asking]


def _leave_terminal() -> None:
    """Let what goes to a terminal go nowhere: it is closed, and writing to it would fail."""
    silence(*(descriptor for descriptor in (OUT, ERROR) if os.isatty(descriptor)))


class StopRequest:
    """Whether this process was asked to stop, and by what.

    Used as a context manager it takes SIGINT, SIGTERM and SIGHUP (the terminal is gone) over: the
    first one is a request, the second SIGINT raises KeyboardInterrupt at once.

    A stop file counts when it was touched after this process was started. An older one is left over
    from a run before: it is ignored and, by the rank that leads, removed here.

    Args:
        stop_file: a path that someone may create; None for none.
        max_seconds: ask to stop when the leading process is this old; None for no limit.
        leads: whether this rank's clock decides for all when the time is over, and whether it
            removes the file, when it is stale and when it was obeyed.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        *,
        stop_file: Path | None,
        max_seconds: float | None,
        leads: bool,
        clock: Callable[[], float] = time.time,
    ):
        self._file, self._leads, self._clock = stop_file, leads, clock
        started = psutil.Process().create_time()
        self._deadline = started + max_seconds if leads and max_seconds is not None else None
        self._signal: int | None = None
        self._previous: dict[int, Any] = {}
        self._stale: int | None = None
        touched = self._touched()
        if stop_file is not None and touched is not None and touched < started * 1e9:
            self._stale = touched
            if leads:
                stop_file.unlink(missing_ok=True)
                logger.info("removed the stop file %s of an earlier run", stop_file)

    def reason(self) -> str | None:
        """Return why the run should stop, or None. Cheap: one look at the file system."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        touched = self._touched()
        if touched is not None and touched != self._stale:
            return f"stop file {self._file}"
        if self._deadline is not None and self._clock() >= self._deadline:
            return "time limit"
        return None

    def obeyed(self) -> None:
        """Remove the stop file, once the checkpoint is saved."""
        if self._file is not None and self._leads:
            self._file.unlink(missing_ok=True)

    def __enter__(self) -> "StopRequest":
        for number in _asking_signals():
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *unused: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._signal is not None:
            raise KeyboardInterrupt
        if number == signal.SIGHUP:
            _leave_terminal()
        self._signal = number

    def _touched(self) -> int | None:
        if self._file is None:
            return None
        try:
            return self._file.stat().st_mtime_ns
        except FileNotFoundError:
            return None
