"""Where ranks wait for each other for as long as it takes, before they start a collective.

On the CPU MindSpore 2.8 gives up a collective after 30 s, and no setting changes that; one rank may
well compile, draw or write for longer than the others. So ranks first meet by files in a folder
that all of them see; a rank that never comes is found by the launcher, which ends the job.
"""

import time
from pathlib import Path

from hpc.durable_files import write_at_once

POLL_SECONDS = 0.02


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
        mine = self._file(self._rank)
        write_at_once(mine, f"{self._job} {self._count}")
        absent = [rank for rank in range(self._size) if rank != self._rank]
        while absent := [rank for rank in absent if self._came(rank) < self._count]:
            time.sleep(POLL_SECONDS)

    def _file(self, rank: int) -> Path:
        return self._folder / f"rank_{rank}.barrier"

    def _came(self, rank: int) -> int:
        try:
            job, count = self._file(rank).read_text().split()
        except FileNotFoundError:
            return 0
        return int(count) if job == self._job else 0
