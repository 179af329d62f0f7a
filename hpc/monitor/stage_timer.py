"""Laps of a stopwatch, entered into the goodput ledger of one stage."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from hpc.monitor.goodput import Category, Ledger
from hpc.monitor.training_curves import TIME

INSTALL_SECONDS = "HPC_INSTALL_SECONDS"
"""In the environment, from launch/*: what installing before this start took."""

_process_began: float | None = psutil.Process().create_time()


class StageTimer:
    """Says where every second of a training stage goes; each second belongs to one category.

    Args:
        folder: of the stage, which gets the ledger; None on ranks that keep none.
        resumed_step: optimizer steps already made when this attempt begins.
        clock: seconds since 1970.

    The first sheet of a process begins with the process, so that its first lap has the imports. It
    also enters the seconds of installation that the launcher measured (`INSTALL_SECONDS`).
    """

    def __init__(
        self, folder: Path | None, *, resumed_step: int, clock: Callable[[], float] = time.time
    ) -> None:
        global _process_began
        self._clock = clock
        is_first = _process_began is not None
        self._last = clock() if _process_began is None else _process_began
        _process_began = None
        self._ledger: Ledger | None = None
        self._since_log = {"data_wait": 0.0, "step": 0.0}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._ledger = Ledger(folder, resumed_step=resumed_step)
            if is_first:
                self._ledger.add("install", float(os.environ.get(INSTALL_SECONDS, "0")))

    def lap(self, category: Category) -> float:
        """Enter the seconds since the last lap, and return them."""
        now = self._clock()
        seconds, self._last = now - self._last, now
        if self._ledger is not None:
            self._ledger.add(category, seconds)
        if category in self._since_log:
            self._since_log[category] += seconds
        return seconds

    def data_wait_share(self) -> float:
        """Return the share of the time in steps, since the last call, that waited for data."""
        wait, step = self._since_log.values()
        self._since_log = dict.fromkeys(self._since_log, 0.0)
        return wait / (wait + step) if wait + step else 0.0

    def flush(self, *, step: int) -> dict[str, float]:
        """Append to the ledger; return the sums over all attempts as curves."""
        if self._ledger is None:
            return {}
        self._ledger.flush(step=step)
        sums = self._ledger.total()
        seconds = {name: value for name, value in sums.seconds.items() if value}
        return {
            f"{TIME}/goodput": sums.fraction,
            **{f"{TIME}/{name}_seconds": value for name, value in seconds.items()},
            f"{TIME}/lost_seconds": sums.lost,
        }
