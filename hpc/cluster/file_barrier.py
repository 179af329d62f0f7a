"""Where ranks wait for each other for as long as it takes, before they start a collective.

On the CPU MindSpore 2.8 gives up a collective after 30 s, and no setting changes that; one rank may
well compile, draw or write for longer than the others. So ranks first meet by files in a folder
that all of them see; a rank that never comes is found by the supervisor, which ends the job.

Rank 0 looks for the others and then opens for all, so the work grows with the number of ranks, not
with its square; and who has waited for long looks less often.
"""

import time
from pathlib import Path

from hpc.durable_files import write_at_once

POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 0.5
WAITED_SHARE = 0.05
"""Of the time waited so far: how long to wait until the next look."""


class FileBarrier:
    """Counts how often each rank has come.

    Args:
        folder: that all ranks see.
        job: tells the files of this job from those of an earlier one.
        rank: who am I.
        size: of how many.
    """

    def __init__(self, folder: Path, *, job: str, rank: int, size: int) -> None:
        self._folder, self._job, self._rank, self._size = folder, job, rank, size
        self._count = 0

    def wait(self) -> None:
        """Return when every rank has called this as often as this one."""
        self._count += 1
        if self._rank:
            self._say(self._file(self._rank))
            self._wait_for(self._opened)
            return
        for rank in range(1, self._size):
            self._wait_for(self._file(rank))
        self._say(self._opened)

    @property
    def _opened(self) -> Path:
        return self._folder / "opened.barrier"

    def _file(self, rank: int) -> Path:
        return self._folder / f"rank_{rank}.barrier"

    def _say(self, file: Path) -> None:
        write_at_once(file, f"{self._job} {self._count}")

    def _wait_for(self, file: Path) -> None:
        began = time.monotonic()
        while self._came(file) < self._count:
            waited = time.monotonic() - began
            time.sleep(min(max(POLL_SECONDS, WAITED_SHARE * waited), LONGEST_POLL_SECONDS))

    def _came(self, file: Path) -> int:
        try:
            job, count = file.read_text().split()
        except (FileNotFoundError, ValueError):
            return 0
        return int(count) if job == self._job else 0
