"""What the stages read: the windows, frames and events of one split.

Legend: B batch, T time, H height, W width, N frames; the channel is 1. Values are code / 255.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import psutil

from hpc.errors import UserError
from prediff.data.cadence import explain_odd, odd_events
from prediff.data.catalog import (
    CatalogRow,
    Event,
    catalog_path,
    catalog_sha256,
    quantity_of,
    read_rows,
)
from prediff.data.quantity import Quantity, RainRelation, byte_table
from prediff.data.selection import Selection, Split
from prediff.data.sevir import FrameShape, VilReader, block_maximum, to_unit

LEAST_CACHE_BYTES = 256 * 1024**2


def cache_bytes_per_process(*, processes: int = 1) -> int:
    """Return how many bytes of frames each of a host's processes may keep.

    A quarter of the memory that is free now, shared; reading a frame again from its file means
    decompressing the whole event.
    """
    return max(LEAST_CACHE_BYTES, psutil.virtual_memory().available // (4 * processes))


class RadarWindows:
    """Sequences of radar frames; made by :func:`open_windows`.

    Attributes:
        events: the split's events; positions below refer to this list.
        windows: ``[len(self), 2]`` int64, position of the event and first frame of each window.
        frames: ``[frame_count, 2]`` int64, position of the event and number of each distinct frame
            that some window covers.
        length: frames of a window.
        frame_shape: frames, height and width of every event as it is read here.
        catalog_sha256: of the catalog's bytes.
        cadence_minutes: between the frames of every event.
    """

    def __init__(
        self,
        *,
        reader: VilReader,
        events: Sequence[Event],
        windows: np.ndarray,
        length: int,
        frame_shape: FrameShape,
        file_shape: FrameShape,
        catalog_sha256: str,
        cadence_minutes: float,
        table: np.ndarray | None,
        cache_bytes: int,
    ):
        self.events = list(events)
        self.windows = windows
        self.length = length
        self.frame_shape = frame_shape
        self.catalog_sha256 = catalog_sha256
        covered = np.zeros((len(self.events), frame_shape.frames), bool)
        for offset in range(length):
            covered[windows[:, 0], windows[:, 1] + offset] = True
        self.frames = np.argwhere(covered)
        self.cadence_minutes = cadence_minutes
        self._reader = reader
        self._file_shape = file_shape
        self._table = table
        event_bytes = frame_shape.frames * frame_shape.height * frame_shape.width
        self._kept_events = cache_bytes // event_bytes
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.windows)

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
        """Close the files; reading again opens them again."""
        self._reader.close()

    @property
    def frame_count(self) -> int:
        """Number of distinct frames, see ``frames``."""
        return len(self.frames)

    def pixel_metres(self, position: int) -> float:
        """Return the side of a pixel of an event, in metres on the ground."""
        return self.events[position].width_metres / self.frame_shape.width

    def read_windows(
        self, indices: Sequence[int] | np.ndarray, *, missing: float = 0.0
    ) -> np.ndarray:
        """Return windows ``[B, T, H, W, 1]`` float32 in [0, 1].

        Args:
            indices: of the windows.
            missing: what missing pixels become: 0 is dry, NaN leaves them out of scores.

        Raises:
            UserError: a file is damaged.
        """
        return self._read(self.windows[np.asarray(indices, int)], self.length, missing)

    def read_frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return single frames ``[N, H, W, 1]`` float32 in [0, 1], by position in ``frames``.

        Missing pixels are dry.

        Raises:
            UserError: a file is damaged.
        """
        return self._read(self.frames[np.asarray(indices, int)], 1, 0.0)[:, 0]

    def read_event(self, position: int) -> np.ndarray:
        """Return all frames of an event ``[T, H, W, 1]`` float32 in [0, 1]; missing is dry.

        Raises:
            UserError: its file is damaged.
        """
        return to_unit(self._raw(position, 0, self.frame_shape.frames))[..., None]

    def _read(self, places: np.ndarray, length: int, missing: float) -> np.ndarray:
        shape = (len(places), length, self.frame_shape.height, self.frame_shape.width)
        raw = np.empty(shape, np.uint8)
        for row, (position, start) in zip(raw, places, strict=True):
            row[...] = self._raw(int(position), int(start), int(start) + length)
        return to_unit(raw, missing=missing)[..., None]

    def _raw(self, position: int, start: int, stop: int) -> np.ndarray:
        """Return frames of an event; as many events as there is room for stay in memory."""
        if not self._kept_events:
            return self._read_file(position, start, stop)
        with self._lock:
            frames = self._cache.get(position)
            if frames is not None:
                self._cache.move_to_end(position)
        if frames is None:
            frames = self._read_file(position, 0, self.frame_shape.frames)
            with self._lock:
                self._cache[position] = frames
                while len(self._cache) > self._kept_events:
                    self._cache.popitem(last=False)
        return frames[start:stop]

    def _read_file(self, position: int, start: int, stop: int) -> np.ndarray:
        event = self.events[position]
        found = self._reader.frame_shape(event.file)
        if found != self._file_shape:
            raise UserError(
                f"{self._reader.path(event.file)} holds {found}, other files of the folder "
                f"{self._file_shape}: keep data of different sizes in different folders"
            )
        frames = self._reader.read(event.file, event.index, start=start, stop=stop)
        block = self._file_shape.height // self.frame_shape.height
        if block > 1:
            frames = block_maximum(frames, block=block)
        return frames if self._table is None else self._table[frames]


def open_windows(
    root: Path,
    *,
    split: Split,
    selection: Selection | None = None,
    frame_size: tuple[int, int] | None = None,
    quantity: Quantity | None = None,
    relation: RainRelation | None = None,
    cache_bytes: int | None = None,
    check_files: bool = True,
) -> RadarWindows:
    """Open one split of the data at ``root``.

    Args:
        root: folder with ``CATALOG.csv`` and ``data/vil/<year>/*.h5``.
        split: ``train``, ``validation``, ``test``, or ``all`` (every usable event).
        selection: the rules; None is SEVIR-LR's.
        frame_size: the (height, width) that the model was built for. Frames that are a whole
            multiple of it are reduced by block maximum, as SEVIR-LR was; None takes any as it is.
        quantity: what the network is to see; None is the folder's own.
        relation: between reflectivity and rain, where the folder holds the other of the two.
        cache_bytes: of frames (a byte a pixel) that stay in memory once they were read; None is
            what `cache_bytes_per_process` gives.
        check_files: open every file that any split uses, so that a job does not find at its end
            that it has no test data. Without it a file is checked when it is first read.

    Raises:
        UserError: there is no data, the split is empty, a file is missing or damaged or of another
            kind, frames do not fit ``frame_size``, events are shorter than a window or not of one
            cadence, or the folder's quantity cannot become the one that is wanted.
    """
    root = Path(root)
    selection = selection or Selection()
    rows = read_rows(root)
    table = _table_of(rows, quantity, relation, root)
    reader = VilReader(root)
    usable = selection.usable(rows)
    if not usable:
        raise selection.explain_empty(rows, split=split, place=catalog_path(root))
    files = dict.fromkeys(event.file for event in usable)
    file_shape = reader.common_frame_shape(files if check_files else list(files)[:1])
    cadence, odd = odd_events(usable, frames=file_shape.frames)
    if odd:
        raise explain_odd(odd, place=catalog_path(root))
    frame_shape = file_shape
    if frame_size is not None:
        _block_between(file_shape, frame_size, root)
        frame_shape = FrameShape(file_shape.frames, *frame_size)
    events, windows = selection.cut(rows, split=split, frames=frame_shape.frames)
    if not len(windows):
        raise selection.explain_empty(rows, split=split, place=catalog_path(root))
    reader.require_rows(usable if check_files else ())
    return RadarWindows(
        reader=reader,
        events=events,
        windows=windows,
        length=selection.length,
        frame_shape=frame_shape,
        file_shape=file_shape,
        catalog_sha256=catalog_sha256(root),
        cadence_minutes=cadence or 0,
        table=table,
        cache_bytes=cache_bytes_per_process() if cache_bytes is None else cache_bytes,
    )


def _table_of(
    rows: Sequence[CatalogRow], quantity: Quantity | None, relation: RainRelation | None, root: Path
) -> np.ndarray | None:
    """Return the wanted byte of each of the folder's, None where they are the same."""
    source = quantity_of(rows)
    if quantity is None or quantity is source:
        return None
    return byte_table(
        source=source, target=quantity, relation=relation or RainRelation(), place=str(root)
    )


def _block_between(found: FrameShape, wanted: tuple[int, int], root: Path) -> None:
    height, width = wanted
    block = found.height // height
    if block < 1 or (block * height, block * width) != (found.height, found.width):
        raise UserError(
            f"{root}: expected frames of {height}x{width} or a whole multiple, found "
            f"{found.height}x{found.width}: change data.frame_size, or use other data"
        )
