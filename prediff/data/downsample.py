"""SEVIR to SEVIR-LR: every second frame, and the maximum of 3x3 pixels.

Source: MODEL section 6. Legend: H and W pixels, T frames.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hpc.durable_files import replace_file, storage_errors_as_advice
from hpc.errors import UserError
from prediff.data.catalog import CATALOG_NAME, catalog_path, read_rows
from prediff.data.sevir import VilReader, block_maximum, create_vil

FRAME_STEP = 2
POOL = 3

_MARK = "downsampled_from"  # attribute of vil: size and rows of the source file


@dataclass(frozen=True)
class DownsampleResult:
    """How many files and events were made now, and how many files were whole already."""

    files_written: int
    files_kept: int
    events_written: int


def downsample_frames(frames: np.ndarray) -> np.ndarray:
    """Return frames ``[T, H, W]`` as ``[(T+1)//2, H/3, W/3]`` of the same type."""
    return block_maximum(frames[::FRAME_STEP], block=POOL)


def downsample(
    source: Path,
    destination: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> DownsampleResult:
    """Make SEVIR-LR in ``destination`` from the SEVIR tree in ``source``.

    Every file that the catalog's ``vil`` rows name is converted row by row, so that row numbers
    stay valid and the catalog is copied unchanged, as SEVIR-LR's is. A file appears when it is
    whole, the catalog last of all; run again after an interruption, only missing or outdated files
    are made.

    Args:
        source: folder with ``CATALOG.csv`` and ``data/vil/<year>/*.h5``.
        destination: another folder.
        progress: called with the number of events done and of all events, after each.

    Raises:
        UserError: a source file is missing, damaged or of a size that 3 does not divide, or the
            destination holds another data set.
    """
    source, destination = Path(source), Path(destination)
    source_catalog = catalog_path(source)
    catalog = destination / CATALOG_NAME
    if destination.resolve() == source.resolve():
        raise UserError(f"{destination} is the source itself: name another folder for the result")
    if catalog.exists() and catalog.read_bytes() != source_catalog.read_bytes():
        raise UserError(
            f"{catalog} is of another data set than {source_catalog}: name an empty folder"
        )
    files = sorted({row.event.file for row in read_rows(source)})
    if not files:
        raise UserError(f"{source_catalog} lists no radar event of type vil: nothing to do")
    with VilReader(source) as reader:
        for file in files:
            shape = reader.frame_shape(file)
            if shape.height % POOL or shape.width % POOL:
                raise UserError(
                    f"{reader.path(file)} holds frames of {shape.height}x{shape.width}, which 3 "
                    f"does not divide: it is not a SEVIR file of 384x384"
                )
        rows = {file: len(reader.dataset(file)) for file in files}
        todo = [file for file in files if not _is_whole(reader, file, destination)]
        total, done = sum(rows.values()), sum(rows.values()) - sum(rows[file] for file in todo)

        def count_event() -> None:
            nonlocal done
            done += 1
            if progress:
                progress(done, total)

        for file in todo:
            _convert(reader, file, destination, count_event)
    if not catalog.exists():
        with storage_errors_as_advice(catalog), replace_file(catalog) as aside:
            shutil.copyfile(source_catalog, aside)
    return DownsampleResult(
        files_written=len(todo),
        files_kept=len(files) - len(todo),
        events_written=sum(rows[file] for file in todo),
    )


def _convert(
    reader: VilReader, file: str, destination: Path, count_event: Callable[[], None]
) -> None:
    shape, rows = reader.frame_shape(file), len(reader.dataset(file))
    height, width = shape.height // POOL, shape.width // POOL
    frames = -(-shape.frames // FRAME_STEP)
    path = destination / "data" / file
    with storage_errors_as_advice(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with (
        storage_errors_as_advice(path),
        replace_file(path) as aside,
        h5py.File(aside, "w") as out,
    ):
        vil = create_vil(out, events=rows, height=height, width=width, frames=frames)
        vil.attrs[_MARK] = _describe(reader, file)
        for row in range(rows):
            vil[row] = np.moveaxis(downsample_frames(reader.read(file, row)), 0, -1)
            count_event()


def _is_whole(reader: VilReader, file: str, destination: Path) -> bool:
    """A file exists only when it was written to its end; here it is made sure from what."""
    try:
        with h5py.File(destination / "data" / file, "r") as made:
            return made["vil"].attrs.get(_MARK) == _describe(reader, file)
    except (OSError, KeyError):
        return False


def _describe(reader: VilReader, file: str) -> str:
    return f"{reader.path(file).stat().st_size} bytes, {len(reader.dataset(file))} events"
