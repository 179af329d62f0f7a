"""The watched folder: which files are new and whole, and what frames they hold."""

import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from hpc.errors import UserError

ReadFrames = Callable[[Path], xr.DataArray]
Stamp = tuple[int, int]


@dataclass
class _Seen:
    stamp: Stamp
    first: float
    """When this content was first seen, by the clock."""
    done: bool = False


@dataclass(frozen=True)
class Arrival:
    """What a file brought: its frames, or why it brought none.

    Attributes:
        path: of the file.
        modified: seconds since 1970 of its last change.
        frames: ``(time, y, x)``; None if it cannot be read.
        problem: one line, empty for a good file.
    """

    path: Path
    modified: float
    frames: xr.DataArray | None
    problem: str = ""


class Inbox:
    """Looks into a folder again and again; each content of each file arrives once.

    A file is read when it no longer changes. One that cannot be read is tried again until
    `patience` is over, for it may still be written, and again when it changes. Names that begin
    with a dot are files being written. What is remembered is bounded by the files that are there.

    Args:
        folder: to watch.
        read: gives the frames of a file, or raises UserError.
        oldest_seconds: files that changed longer ago are left alone.
        patience: seconds to wait for a file that cannot be read.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        *,
        read: ReadFrames,
        oldest_seconds: float,
        patience: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._read = folder, read
        self._oldest, self._patience, self._clock = oldest_seconds, patience, clock
        self._seen: dict[Path, _Seen] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def arrivals(self) -> Iterator[Arrival]:
        """Yield what is new since the last look, in the order of the files' changes.

        Raises:
            OSError: the folder cannot be listed; it may come back.
        """
        now = self._clock()
        there: dict[Path, Stamp] = {}
        for path in self._folder.iterdir():
            if path.name.startswith("."):
                continue
            try:
                found = path.stat()
            except OSError:
                continue  # gone between the listing and here
            if stat.S_ISDIR(found.st_mode) and path.suffix != ".zarr":
                continue
            if now - found.st_mtime <= self._oldest:
                there[path] = (found.st_mtime_ns, found.st_size)
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        for path, stamp in sorted(there.items(), key=lambda item: (item[1][0], item[0].name)):
            seen = self._seen.get(path)
            if seen is None or seen.stamp != stamp:
                # What is still being written changes until the next look.
                self._seen[path] = _Seen(stamp, now)
                continue
            if seen.done:
                continue
            arrival = self._arrival(path, stamp, waited=now - seen.first)
            if arrival is not None:
                seen.done = True
                yield arrival

    def _arrival(self, path: Path, stamp: Stamp, *, waited: float) -> Arrival | None:
        modified = stamp[0] / 1e9
        try:
            return Arrival(path, modified, self._read(path))
        except (UserError, OSError) as error:
            if waited < self._patience:
                return None
            return Arrival(path, modified, None, " ".join(str(error).split()))
