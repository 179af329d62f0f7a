"""A bounded set of open shard files, shared by all readers of a process and all their threads.

A full store has more files than many a host lets a process open (1024 is a usual limit), so the
least recently used one that nobody is reading is closed when the set is full.
"""

import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ShardKey = tuple[object, int]  # (whose shard, its number)


@dataclass
class OpenFile:
    """An open file; ``version`` changes when the file's name came to mean another file."""

    descriptor: int
    version: tuple[int, int, int, int]
    users: int = 0


class OpenFiles:
    """At most ``capacity`` open files, more only while more are in use at once."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._files: OrderedDict[ShardKey, OpenFile] = OrderedDict()

    def acquire(self, keys: list[ShardKey], locate: Callable[[ShardKey], Path]) -> list[OpenFile]:
        """Return the files of ``keys``, those opened now that were not; open until `release`.

        Args:
            keys: (whose shard, its number), compared by identity and number.
            locate: key -> path.

        Raises:
            OSError: a file cannot be opened; then none is acquired.
        """
        acquired: list[OpenFile] = []
        with self._lock:
            try:
                for key in keys:
                    file = self._files.get(key)
                    if file is None:
                        self._close_idle(self._capacity - 1)
                        file = self._files[key] = _open(locate(key))
                    else:
                        self._files.move_to_end(key)
                    file.users += 1
                    acquired.append(file)
            except BaseException:
                self._release(acquired)
                raise
        return acquired

    def release(self, files: list[OpenFile]) -> None:
        """Say that this user is done with the files."""
        with self._lock:
            self._release(files)

    def close(self, belongs: Callable[[ShardKey], bool]) -> None:
        """Close the files whose keys belong to somebody who is done with them."""
        with self._lock:
            for key in [key for key in self._files if belongs(key)]:
                os.close(self._files.pop(key).descriptor)

    def _release(self, files: list[OpenFile]) -> None:
        for file in files:
            file.users -= 1

    def _close_idle(self, keep: int) -> None:
        idle = [key for key, file in self._files.items() if file.users == 0]
        for key in idle[: max(0, len(self._files) - keep)]:
            os.close(self._files.pop(key).descriptor)


def _open(file: Path) -> OpenFile:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return OpenFile(descriptor=descriptor, version=version)


SHARD_FILES = OpenFiles(max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
