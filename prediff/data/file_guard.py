"""What a radar file must be before anything reads its pixels: whole, modest, and self-contained.

Files come from strangers. HDF5 (and with it netCDF-4) can name other files of the host, which a
library then opens and reads as if they were pixels; a few bytes of header can promise more memory
than there is; and a name in a catalog, or a symbolic link, can lead out of the data folder. Every
reader of frames asks here first.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from hpc.errors import UserError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

MODEST_BYTES = 100 * 10**6
"""As float32, what any file may hold."""

LARGEST_COMPRESSION = 1100
"""As float32, what a stored byte may become above that; deflate reaches 1030."""

_MOST_OBJECTS = 100_000
_FILTERS = {32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32015: "zstd", 32026: "blosc2"}


def inside(root: Path, name: str) -> Path:
    """Return ``root / name`` where it lies in ``root``, also after symbolic links.

    The root itself may be a link: whose data these are is the user's business.

    Raises:
        UserError: the name is absolute, or leads out of the folder.
    """
    path = root / name
    if Path(name).is_absolute() or not path.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{path} leads out of {root}: files of a data folder must lie in it; copy it there"
        )
    return path


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading once it is sure that all it holds is its own.

    Raises:
        UserError: no HDF5 file, a damaged one, or one that refers to other files.
    """
    try:
        opened = h5py.File(path, "r")
    except OSError as error:
        if "too many open files" in str(error).lower() or error.errno in (23, 24):
            raise UserError(
                f"{path} cannot be opened, too many files are open: raise the limit, `ulimit -n`"
            ) from error
        raise UserError(
            f"{path} is truncated or no HDF5 file ({first_line(error)}): fetch it again"
        ) from error
    try:
        _require_own(opened, path)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        opened.close()
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged ({first_line(error)}): fetch it again") from error
    return opened


def check_file(path: Path) -> None:
    """Raise UserError if a file or zarr folder refers to other files of the host."""
    if path.is_dir():
        _require_links_inside(path)
    elif path.is_file() and is_hdf5(path):
        open_hdf5(path).close()


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins as HDF5 does (netCDF-4 is HDF5)."""
    with path.open("rb") as file:
        return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE


def check_promise(shape: tuple[int, ...], *, stored_bytes: int, place: object) -> None:
    """Raise UserError if an array is too large for the bytes that it is said to come from.

    Args:
        shape: of the array, before it is read.
        stored_bytes: what of it is on disk.
    """
    promised = 4 * int(np.prod([int(size) for size in shape], dtype=object))
    if promised > max(MODEST_BYTES, LARGEST_COMPRESSION * stored_bytes):
        sizes = "x".join(str(size) for size in shape)
        raise UserError(
            f"{place} says that it holds {sizes} values in {stored_bytes} bytes: the file is "
            "damaged or was made to exhaust memory"
        )


def check_dataset(dataset: h5py.Dataset, *, place: object, rows: int = 1) -> None:
    """Raise UserError unless an HDF5 dataset can be read: its size and its filters.

    Args:
        rows: over how many of equal size the dataset is read, one at a time.
    """
    shape = dataset.shape or ()
    if rows > 1:
        shape = shape[1:]
    check_promise(shape, stored_bytes=dataset.id.get_storage_size(), place=place)
    plan = dataset.id.get_create_plist()
    for position in range(plan.get_nfilters()):
        code = plan.get_filter(position)[0]
        if not h5py.h5z.filter_avail(code):
            name = _FILTERS.get(code, f"number {code}")
            raise UserError(
                f"{place} is compressed by the HDF5 filter {name}, which is not installed here: "
                "write the file with gzip (h5repack -f GZIP=4), fetching it again changes nothing"
            )


def first_line(error: BaseException) -> str:
    """Return what a library said, one line of at most 200 characters that a terminal can show."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "".join(mark if mark.isprintable() else "?" for mark in text)[:200]


def _require_own(file: h5py.File, path: Path) -> None:
    for name, holder in _links(file, path):
        link = holder.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise UserError(f"{path} links to another file at {name}: radar files stand alone")
        if not isinstance(link, h5py.HardLink):
            continue
        dataset = holder.get(name)
        if isinstance(dataset, h5py.Dataset) and (dataset.external or dataset.is_virtual):
            raise UserError(
                f"{path} keeps the pixels of {name} in other files: radar files stand alone"
            )


def _links(file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Group]]:
    """Yield every link of every group once, without following any to another file."""
    todo: list[h5py.Group] = [file["/"]]
    seen = {h5py.h5o.get_info(file["/"].id).addr}
    count = 0
    while todo:
        group = todo.pop()
        for name in group:
            count += 1
            if count > _MOST_OBJECTS:
                raise UserError(f"{path} holds more than {_MOST_OBJECTS} objects: no radar file")
            yield name, group
            if isinstance(group.get(name, getlink=True), h5py.HardLink):
                found = group.get(name)
                if isinstance(found, h5py.Group):
                    address = h5py.h5o.get_info(found.id).addr
                    if address not in seen:
                        seen.add(address)
                        todo.append(found)


def _require_links_inside(folder: Path) -> None:
    root = folder.resolve()
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise UserError(f"{path} leads out of {folder}: radar files stand alone")


def stored_bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(
            os.lstat(os.path.join(place, name)).st_size
            for place, _, files in os.walk(path)
            for name in files
        )
    return path.stat().st_size
