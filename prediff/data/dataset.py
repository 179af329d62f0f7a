"""What the stages read: the windows, frames and events of one split.

Legend: B batch, T time, H height, W width, N frames; the channel is 1. Values are VIL / 255.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from hpc.errors import UserError
from prediff.data.catalog import Event, catalog_path, catalog_sha256, read_vil_rows
from prediff.data.selection import Selection, Split
from prediff.data.sevir import FrameShape, VilReader, block_maximum, to_unit

DEFAULT_CACHE_BYTES = 256 * 1024**2


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
    """

    def __init__(
        self,
        *,
        reader: VilReader,
        events: Sequence[Event],
        windows: np.ndarray,
        length: int,
        frame_shape: FrameShape,
        block: int,
        catalog_sha256: str,
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
        self._reader = reader
        self._block = block
        size = covered.size * frame_shape.height * frame_shape.width
        self._cache: dict[int, np.ndarray] | None = {} if size <= cache_bytes else None

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

    @property
    def cadence_minutes(self) -> int:
        """Minutes between the first two frames of the first event."""
        first, second = self.events[0].frame_minutes(self.frame_shape.frames)[:2]
        return second - first

    def pixel_metres(self, position: int) -> float:
        """Return the side of a pixel of an event, in metres on the ground."""
        return self.events[position].width_metres / self.frame_shape.width

    def read_windows(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return windows ``[B, T, H, W, 1]`` float32 in [0, 1].

        Raises:
            UserError: a file is damaged.
        """
        return self._read(self.windows[np.asarray(indices, int)], self.length)

    def read_frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return single frames ``[N, H, W, 1]`` float32 in [0, 1], by position in ``frames``.

        Raises:
            UserError: a file is damaged.
        """
        return self._read(self.frames[np.asarray(indices, int)], 1)[:, 0]

    def read_event(self, position: int) -> np.ndarray:
        """Return all frames of an event ``[T, H, W, 1]`` float32 in [0, 1].

        Raises:
            UserError: its file is damaged.
        """
        return to_unit(self._raw(position, 0, self.frame_shape.frames))[..., None]

    def _read(self, places: np.ndarray, length: int) -> np.ndarray:
        shape = (len(places), length, self.frame_shape.height, self.frame_shape.width)
        raw = np.empty(shape, np.uint8)
        for row, (position, start) in zip(raw, places, strict=True):
            row[...] = self._raw(int(position), int(start), int(start) + length)
        return to_unit(raw)[..., None]

    def _raw(self, position: int, start: int, stop: int) -> np.ndarray:
        if self._cache is None:
            return self._read_file(position, start, stop)
        if position not in self._cache:
            self._cache[position] = self._read_file(position, 0, self.frame_shape.frames)
        return self._cache[position][start:stop]

    def _read_file(self, position: int, start: int, stop: int) -> np.ndarray:
        event = self.events[position]
        frames = self._reader.read(event.file, event.index, start=start, stop=stop)
        return block_maximum(frames, block=self._block) if self._block > 1 else frames


def open_windows(
    root: Path,
    *,
    split: Split,
    selection: Selection | None = None,
    frame_size: tuple[int, int] | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
) -> RadarWindows:
    """Open one split of the data at ``root`` and check all files that it uses.

    Args:
        root: folder with ``CATALOG.csv`` and ``data/vil/<year>/*.h5``.
        split: ``train``, ``validation``, ``test``, or ``all`` (every usable event).
        selection: the rules; None is SEVIR-LR's.
        frame_size: the (height, width) that the model was built for. Frames that are a whole
            multiple of it are reduced by block maximum, as SEVIR-LR was; None takes any as it is.
        cache_bytes: a split that is not larger than this (a byte a pixel) stays in memory once it
            was read; a larger one is read from its files every time.

    Raises:
        UserError: there is no data, the split is empty, a file is missing or damaged or of another
            kind, frames do not fit ``frame_size``, or events are shorter than a window.
    """
    root = Path(root)
    selection = selection or Selection()
    rows = read_vil_rows(root)
    reader = VilReader(root)
    usable = selection.usable(rows)
    if not usable:
        raise selection.explain_empty(rows, split=split, place=catalog_path(root))
    # All usable events, not the split's alone: a job should not find at its end that it has no
    # test data.
    frame_shape = reader.common_frame_shape(dict.fromkeys(event.file for event in usable))
    block = 1
    if frame_size is not None:
        block = _block_between(frame_shape, frame_size, root)
        frame_shape = FrameShape(frame_shape.frames, *frame_size)
    events, windows = selection.cut(rows, split=split, frames=frame_shape.frames)
    if not len(windows):
        raise selection.explain_empty(rows, split=split, place=catalog_path(root))
    reader.require_rows(usable)
    return RadarWindows(
        reader=reader,
        events=events,
        windows=windows,
        length=selection.length,
        frame_shape=frame_shape,
        block=block,
        catalog_sha256=catalog_sha256(root),
        cache_bytes=cache_bytes,
    )


def _block_between(found: FrameShape, wanted: tuple[int, int], root: Path) -> int:
    height, width = wanted
    block = found.height // height
    if block < 1 or (block * height, block * width) != (found.height, found.width):
        raise UserError(
            f"{root}: expected frames of {height}x{width} or a whole multiple, found "
            f"{found.height}x{found.width}: change data.frame_size, or use other data"
        )
    return block
