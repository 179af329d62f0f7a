"""Files and folders that are whole or not there: written aside, flushed, renamed into place.

What is written gets a hidden name beside its place, `.NAME.WRITER.aside`, made exclusively and
never through a link. It is on the disk before it gets its name, and its name is on the disk before
the writer goes on: a power cut leaves the old or the new, never a name without its content. What a
killed process left aside is removed by the next one that writes the same name. A process of a start
that was given up (`hpc.fence`) writes nothing durable any more: it gets `Overtaken`.
"""

import errno
import glob
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hpc.errors import UserError
from hpc.fence import refuse_if_overtaken
from hpc.process_identity import process_tag, tag_is_alive

ASIDE = ".aside"
"""Suffix of what is not in place yet."""

_WRITER = re.compile(r"\.([0-9a-f]+-\d+-\d+)-[0-9a-f]+\.aside$")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_durably(file: Path, data: bytes | str) -> None:
    """Replace ``file`` by ``data`` at one stroke that survives a power cut."""
    _write(file, data, flush=True)


def write_at_once(file: Path, data: bytes | str) -> None:
    """Replace ``file`` at one stroke that need not survive a power cut.

    For signs between living processes, and for what can be measured again.
    """
    _write(file, data, flush=False)


def _write(file: Path, data: bytes | str, *, flush: bool) -> None:
    aside = aside_path(file)
    try:
        with open_new(aside) as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
            if flush:
                stream.flush()
                flush_to_disk(stream.fileno())
        if flush:
            move_durably(aside, file)
        else:
            os.replace(aside, file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def replace_file(file: Path) -> Iterator[Path]:
    """Give the path to write to; on success that replaces ``file``, durably, else it is removed."""
    refuse_if_overtaken()
    file = _cleared(file)
    aside = aside_path(file)
    open_new(aside).close()
    try:
        yield aside
        _flush_path(aside)
        move_durably(aside, file)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def replace_folder(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a new folder to fill; on success it becomes ``folder``, durably, else it is removed.

    Args:
        overwrite: an older folder of that name goes, just before the new one comes (two renames:
            a kill between them leaves neither). Otherwise it must be absent or empty.
    """
    refuse_if_overtaken()
    folder = _cleared(folder)
    aside, old = aside_path(folder), aside_path(folder)
    aside.mkdir()
    try:
        yield aside
        for entry in aside.rglob("*"):
            _flush_path(entry)
        _flush_path(aside)
        refuse_if_overtaken()
        if overwrite and folder.exists():
            os.rename(folder, old)
        try:
            move_durably(aside, folder)
        except BaseException:
            if old.exists():
                os.rename(old, folder)
            raise
    finally:
        for path in (aside, old):
            shutil.rmtree(path, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that, if the process dies meanwhile, no half of it is ever seen.

    Raises:
        OSError: it could not be removed.
    """
    old = aside_path(folder)
    os.rename(folder, old)
    shutil.rmtree(old)


def aside_path(path: Path, *, folder: Path | None = None) -> Path:
    """Return a new hidden name for what will be ``path``, beside it or in a folder of its disk."""
    return (folder or path.parent) / f".{path.name}.{process_tag()}-{uuid.uuid4().hex[:8]}{ASIDE}"


def open_new(file: Path) -> BinaryIO:
    """Open a new file for writing; whatever has that name already, a link included, is an error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(file, flags, 0o666), "wb")


def move_durably(source: Path, target: Path) -> None:
    """Rename what is flushed and flush its new folder.

    Raises:
        Overtaken: another start has the run to which this process belongs.
    """
    refuse_if_overtaken()
    os.replace(source, target)
    flush_folder(target.parent)


def flush_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut, where the file system can."""
    _flush_path(folder)


def flush_to_disk(descriptor: int) -> None:
    """fsync, where the file system knows it for this kind of file."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def remove_leftovers(folder: Path, names: str, *, sole_writer: bool = False) -> list[Path]:
    """Remove what dead processes left aside; return what was removed.

    Args:
        names: pattern of the names that they would have got.
        sole_writer: nobody else writes these names, so what another host or another version of
            this software left goes as well. What a living process of this host writes stays.
    """
    removed = []
    for path in folder.glob(f".{names}.*"):
        writer = _WRITER.search(path.name)
        alive = tag_is_alive(writer[1]) if writer else None
        if alive or (alive is None and not sole_writer):
            continue
        with suppress(FileNotFoundError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            removed.append(path)
    return removed


@contextmanager
def storage_errors_as_advice(path: Path, *, kept: str = "") -> Iterator[None]:
    """Turn a full disk, a read-only folder and their like under ``path`` into one line of advice.

    Args:
        kept: what a second start need not do again.

    Raises:
        UserError: instead of the OSError.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _NO_ROOM:
            advice = f"Free some space and run the same command again{kept and '; '}{kept}"
        else:
            advice = "Choose another place"
        raise UserError(f"cannot write {path}: {reason}. {advice}") from error


def _cleared(path: Path) -> Path:
    """Return where a path leads, after what the dead left there of the same name has gone."""
    path = path.resolve()
    remove_leftovers(path.parent, glob.escape(path.name))
    return path


def _flush_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flush_to_disk(descriptor)
    finally:
        os.close(descriptor)
