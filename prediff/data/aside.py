"""Files and folders that exist under their name only when they are whole.

They are written under a hidden name beside their place and renamed at the end. What a killed
process left behind is removed by the next one that writes to the same place on the same host.
"""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpc.errors import UserError


@contextmanager
def write_file_aside(path: Path) -> Iterator[Path]:
    """Give the path to write to; on success the file replaces ``path``, else it is removed.

    Raises:
        UserError: the file cannot be written.
    """
    path = path.resolve()
    with _explained(path):
        aside = _aside(path)
        try:
            yield aside
            _flush_to_disk(aside)
            os.replace(aside, path)
            _flush_to_disk(path.parent)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def write_folder_aside(path: Path) -> Iterator[Path]:
    """Give a new folder to fill; on success it becomes ``path``, else it is removed.

    ``path`` must not exist, or be an empty folder.

    Raises:
        UserError: the folder cannot be written.
    """
    path = path.resolve()
    with _explained(path):
        aside = _aside(path)
        try:
            aside.mkdir()
            yield aside
            for entry in aside.rglob("*"):
                _flush_to_disk(entry)
            os.replace(aside, path)
            _flush_to_disk(path.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error}): name another place, or make room"
        ) from error


def _aside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.{socket.gethostname()}-"
    for left in path.parent.glob(f"{prefix}*.partial"):
        writer = left.name.removeprefix(prefix).removesuffix(".partial")
        if writer.isdecimal() and not _is_running(int(writer)):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.parent / f"{prefix}{os.getpid()}.partial"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
