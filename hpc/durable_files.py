"""Files that are whole or not there: written aside, flushed to the disk, renamed into place.

zarr's own store renames without flushing: after a power cut its file may have the right name and
no content. Here the data are on the disk before the name is.
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpc.errors import UserError

ASIDE = ".aside"  # suffix of files that are not in place yet; a killed process may leave some

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EROFS, errno.EACCES, errno.EPERM}


def write_durably(file: Path, data: bytes) -> None:
    """Replace ``file`` by ``data`` at one stroke that survives a power cut."""
    aside = file.with_name(f"{file.name}.{uuid.uuid4().hex}{ASIDE}")
    try:
        with open(aside, "xb") as stream:
            stream.write(data)
            flush_to_disk(stream.fileno())
        move_durably(aside, file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def move_durably(source: Path, target: Path) -> None:
    """Rename a flushed file and flush its new folder."""
    os.replace(source, target)
    flush_folder(target.parent)


def flush_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flush_to_disk(descriptor)
    finally:
        os.close(descriptor)


def flush_to_disk(descriptor: int) -> None:
    """fsync, where the file system knows it for this kind of file."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Delete what a killed process left aside."""
    for file in folder.glob(f"{pattern}*{ASIDE}"):
        with suppress(FileNotFoundError):
            file.unlink()


@contextmanager
def storage_errors_as_advice(path: Path) -> Iterator[None]:
    """Turn a full disk or a read-only folder under ``path`` into one line of advice.

    Raises:
        UserError: instead of the OSError.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _NO_ROOM:
            raise UserError(
                f"cannot write {path}: {reason}. Free some space and run the same command again; "
                "the shards that are finished are kept"
            ) from error
        if error.errno in _NO_ACCESS:
            raise UserError(f"cannot write {path}: {reason}. Choose another folder") from error
        raise
