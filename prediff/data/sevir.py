"""HDF5 access to the radar frames of SEVIR, SEVIR-LR and trees like them.

A file holds one array [events, H, W, T] uint8, named by its quantity (`vil`, `reflectivity`,
`rain_rate`); what leaves here is [T, H, W] uint8.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np

from hpc.errors import UserError
from prediff.data.catalog import Event
from prediff.data.file_guard import check_dataset, first_line, inside, open_hdf5
from prediff.data.quantity import MISSING, QUANTITIES, VIL, Quantity

OPEN_FILES = 64
"""How many files of a folder stay open at once; the one used longest ago is closed first."""

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


def to_unit(frames: np.ndarray, *, missing: float = 0.0) -> np.ndarray:
    """Return uint8 code (0-255) as float32 in [0, 1].

    Args:
        missing: what a missing pixel (255) becomes: 0 is dry, NaN leaves it out of scores.
    """
    unit = frames.astype(np.float32) / np.float32(255)
    unit[frames == MISSING] = missing
    return unit


def block_maximum(frames: np.ndarray, *, block: int) -> np.ndarray:
    """Return frames ``[T, H, W]`` as ``[T, H/block, W/block]``, the maximum of each block.

    A block with a missing pixel (255) is missing. The block must divide height and width.
    """
    count, height, width = frames.shape
    blocks = frames.reshape(count, height // block, block, width // block, block)
    return blocks.max(axis=(2, 4))


def create_vil(
    file: h5py.File,
    *,
    events: int,
    height: int,
    width: int,
    frames: int,
    quantity: Quantity = VIL,
) -> h5py.Dataset:
    """Create a new file's array [events, H, W, T] uint8; a chunk is one event."""
    return file.create_dataset(
        quantity.name,
        shape=(events, height, width, frames),
        dtype=np.uint8,
        chunks=(1, height, width, frames),
        compression="gzip",
        compression_opts=4,
    )


class VilReader:
    """Reads events from the files of one data folder; files open at first use.

    At most :data:`OPEN_FILES` are open at a time. Use it as a context manager, or call
    :meth:`close`.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        self._datasets: OrderedDict[str, h5py.Dataset] = OrderedDict()

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
        """Return where a file of the catalog is.

        Raises:
            UserError: it leads out of the data folder.
        """
        return inside(self.root, f"data/{file}")

    def dataset(self, file: str) -> h5py.Dataset:
        """Return the array [events, H, W, T] uint8 of a file of the catalog.

        Raises:
            UserError: the file is missing or damaged, refers to others, or has no such array.
        """
        if file in self._datasets:
            self._datasets.move_to_end(file)
            return self._datasets[file]
        path = self.path(file)
        if not path.is_file():
            raise UserError(
                f"{path} is missing but the catalog names it: fetch the file again, or look with "
                f"`prediff data check {self.root}`"
            )
        opened = open_hdf5(path)
        try:
            self._datasets[file] = _require_frames(opened, path)
        except BaseException:
            opened.close()
            raise
        while len(self._datasets) > OPEN_FILES:
            self._datasets.popitem(last=False)[1].file.close()
        return self._datasets[file]

    def quantity(self, file: str) -> Quantity:
        """Return what the frames of a file are."""
        return QUANTITIES[self.dataset(file).name.lstrip("/")]

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
        """Raise UserError unless each event's row exists in its file and is that event.

        SEVIR's files hold the ids of their rows beside the frames; where they do, they must be the
        catalog's.
        """
        by_file: dict[str, list[Event]] = {}
        for event in events:
            by_file.setdefault(event.file, []).append(event)
        for file, its_events in by_file.items():
            rows = self.dataset(file).shape[0]
            ids = self._own_ids(file)
            for event in its_events:
                if not 0 <= event.index < rows:
                    raise UserError(
                        f"Event {event.id} is row {event.index} of {self.path(file)}, which has "
                        f"{rows} rows: the catalog and the file do not belong together"
                    )
                if ids is not None and ids[event.index] != event.id:
                    raise UserError(
                        f"The catalog says that row {event.index} of {self.path(file)} is event "
                        f"{event.id}, the file says that it is {ids[event.index]!r:.80}: the "
                        "catalog and the file do not belong together"
                    )

    def _own_ids(self, file: str) -> list[str] | None:
        """Return the ids that a file has of its rows, None where it has none."""
        vil = self.dataset(file)
        ids = vil.file.get("id")
        if not isinstance(ids, h5py.Dataset) or ids.shape != (vil.shape[0],):
            return None
        if ids.dtype.kind not in "SO":
            return None
        check_dataset(ids, place=self.path(file))
        found = (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                 for value in ids[...])  # fmt: skip
        return [value.strip("\x00 ") for value in found]

    def read(self, file: str, row: int, *, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return frames ``start`` to ``stop`` of one row of a file, [T, H, W] uint8.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            frames = self.dataset(file)[row, :, :, start:stop]
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{self.path(file)} is damaged at row {row} ({first_line(error)}): fetch it again"
            ) from error
        return np.ascontiguousarray(np.moveaxis(frames, -1, 0))


def _require_frames(opened: h5py.File, path: Path) -> h5py.Dataset:
    try:
        dataset = next((opened[name] for name in QUANTITIES if name in opened), None)
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}): fetch it again") from error
    if not isinstance(dataset, h5py.Dataset):
        found = ", ".join(opened) or "nothing"
        raise UserError(
            f"{path} has no dataset 'vil' (it holds {found[:200]}): not a SEVIR VIL file, nor one "
            f"of {', '.join(name for name in QUANTITIES if name != VIL.name)}"
        )
    name = dataset.name.lstrip("/")
    if dataset.ndim != 4:
        raise UserError(
            f"{path}: {name} has shape {dataset.shape}, expected (events, height, width, frames)"
        )
    check_dataset(dataset, place=path, rows=len(dataset))
    if dataset.dtype != np.uint8:
        raise UserError(
            f"{path}: {name} is {dataset.dtype}{_nan_note(dataset)}, expected uint8 (code 0-255): "
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
