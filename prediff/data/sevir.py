"""HDF5 access to the radar frames of SEVIR and SEVIR-LR.

A file holds one array `vil` [events, H, W, T] uint8; what leaves here is [T, H, W] uint8.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np

from hpc.errors import UserError
from prediff.data.catalog import Event

_ROWS_SEARCHED_FOR_NAN = 64


@dataclass(frozen=True, slots=True)
class FrameShape:
    """Frames an event, and their height and width in pixels."""

    frames: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.height}x{self.width}"

    @property
    def short(self) -> str:
        """The shape as in a narrow table, such as 25x128x128."""
        return f"{self.frames}x{self.height}x{self.width}"


def to_unit(frames: np.ndarray) -> np.ndarray:
    """Return uint8 VIL (0-255) as float32 in [0, 1]."""
    return frames.astype(np.float32) / np.float32(255)


def block_maximum(frames: np.ndarray, *, block: int) -> np.ndarray:
    """Return frames ``[T, H, W]`` as ``[T, H/block, W/block]``, the maximum of each block.

    The block must divide height and width.
    """
    count, height, width = frames.shape
    blocks = frames.reshape(count, height // block, block, width // block, block)
    return blocks.max(axis=(2, 4))


def create_vil(
    file: h5py.File, *, events: int, height: int, width: int, frames: int
) -> h5py.Dataset:
    """Create the array ``vil`` [events, H, W, T] uint8 of a new file; a chunk is one event."""
    return file.create_dataset(
        "vil",
        shape=(events, height, width, frames),
        dtype=np.uint8,
        chunks=(1, height, width, frames),
        compression="gzip",
        compression_opts=4,
    )


class VilReader:
    """Reads events from the files of one data folder; files open at first use and stay open.

    Use it as a context manager, or call :meth:`close`.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        self._datasets: dict[str, h5py.Dataset] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; reading again opens them again."""
        for dataset in self._datasets.values():
            dataset.file.close()
        self._datasets.clear()

    def path(self, file: str) -> Path:
        """Return where a file of the catalog is."""
        return self.root / "data" / file

    def dataset(self, file: str) -> h5py.Dataset:
        """Return the array ``vil`` [events, H, W, T] uint8 of a file of the catalog.

        Raises:
            UserError: the file is missing or damaged, or has no such array.
        """
        if file not in self._datasets:
            path = self.path(file)
            if not path.is_file():
                raise UserError(
                    f"{path} is missing but the catalog names it: fetch the file again, or look "
                    f"with `prediff data check {self.root}`"
                )
            try:
                opened = h5py.File(path, "r")
            except OSError as error:
                raise UserError(
                    f"{path} is truncated or no HDF5 file ({_first_line(error)}): fetch it again"
                ) from error
            try:
                self._datasets[file] = _require_vil(opened, path)
            except BaseException:
                opened.close()
                raise
        return self._datasets[file]

    def frame_shape(self, file: str) -> FrameShape:
        """Return the shape of every event of a file."""
        _, height, width, frames = self.dataset(file).shape
        return FrameShape(frames, height, width)

    def common_frame_shape(self, files: Iterable[str]) -> FrameShape:
        """Return the one shape that all of at least one file have.

        Raises:
            UserError: a file cannot be used, or two differ.
        """
        shapes = {file: self.frame_shape(file) for file in files}
        first_file, first = next(iter(shapes.items()))
        for file, shape in shapes.items():
            if shape != first:
                raise UserError(
                    f"{self.path(file)} holds {shape} but {self.path(first_file)} holds {first}: "
                    f"keep data of different sizes in different folders"
                )
        return first

    def require_rows(self, events: Iterable[Event]) -> None:
        """Raise UserError unless each event's row exists in its file."""
        for event in events:
            rows = self.dataset(event.file).shape[0]
            if not 0 <= event.index < rows:
                raise UserError(
                    f"Event {event.id} is row {event.index} of {self.path(event.file)}, which has "
                    f"{rows} rows: the catalog and the file do not belong together"
                )

    def read(self, file: str, row: int, *, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return frames ``start`` to ``stop`` of one row of a file, [T, H, W] uint8.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            frames = self.dataset(file)[row, :, :, start:stop]
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{self.path(file)} is damaged at row {row} ({_first_line(error)}): fetch it again"
            ) from error
        return np.ascontiguousarray(np.moveaxis(frames, -1, 0))


def _require_vil(opened: h5py.File, path: Path) -> h5py.Dataset:
    try:
        dataset = opened.get("vil")
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({_first_line(error)}): fetch it again") from error
    if not isinstance(dataset, h5py.Dataset):
        found = ", ".join(opened) or "nothing"
        raise UserError(f"{path} has no dataset 'vil' (it holds {found}): not a SEVIR VIL file")
    if dataset.ndim != 4:
        raise UserError(
            f"{path}: vil has shape {dataset.shape}, expected (events, height, width, frames)"
        )
    if dataset.dtype != np.uint8:
        raise UserError(
            f"{path}: vil is {dataset.dtype}{_nan_note(dataset)}, expected uint8 (VIL 0-255): "
            f"write the file again as uint8"
        )
    return dataset


def _nan_note(dataset: h5py.Dataset) -> str:
    """Say whether the first floating-point rows hide NaN as well."""
    if dataset.dtype.kind == "f":
        for row in range(min(len(dataset), _ROWS_SEARCHED_FOR_NAN)):
            if np.isnan(dataset[row]).any():
                return f" with NaN in row {row}"
    return ""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
