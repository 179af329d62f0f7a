"""Reads random windows of latents straight into one array, and never a wrong number.

`open_store` refuses a group that is not whole or not the one expected. The first time that an event
is read, its CRC-32C is compared with the one its builder noted; afterwards windows of it are one
`preadv` each, from the page cache into the caller's array. Memory maps would be a little faster,
but a file that is cut short under a map kills the process (SIGBUS) where `preadv` lets us say so.

Letters: B windows of a batch, L frames of a window, T frames of an event, h w c the latent's.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import google_crc32c
import numpy as np

from hpc.build_lease import builders_at_work
from hpc.errors import UserError
from prediff.latents.layout import (
    PAGE,
    ArraySpec,
    StoreIdentity,
    StoreLayout,
    group_path,
    list_groups,
    read_event_ids,
    read_layout,
    refuse_other_layout,
)
from prediff.latents.manifest import MANIFEST, read_marker, sizes_differ
from prediff.latents.open_files import SHARD_FILES, OpenFile, ShardKey
from prediff.latents.shard_file import (
    CRC_BYTES,
    DamagedShardError,
    read_exactly,
    read_shard_index,
)


def open_store(path: str | Path, *, identity: StoreIdentity, variant: str) -> "LatentReader":
    """Open one group for reading.

    Args:
        path: the store's folder.
        identity: data set, VAE and catalog that the latents must be of.
        variant: name of the augmentation.

    Raises:
        UserError: there is no such group; it is of another VAE, catalog or format version (the line
            names both); shards are missing or damaged, or a builder is still at work.
    """
    group = group_path(path, identity=identity, variant=variant)
    try:
        layout = read_layout(group)
    except FileNotFoundError:
        raise UserError(_why_absent(Path(path), identity=identity, variant=variant)) from None
    expected = replace(
        layout,
        dataset=identity.dataset,
        variant=variant,
        vae_sha256=identity.vae_sha256,
        catalog_sha256=identity.catalog_sha256,
    )
    refuse_other_layout(group, found=layout, expected=expected)
    return LatentReader(group)


class LatentReader:
    """A group that is whole, by event number. Several threads may read at once.

    Args:
        group: the group's folder; `open_store` finds it and checks whose latents it holds.

    Raises:
        UserError: shards or documents of the group are missing or damaged.
    """

    def __init__(self, group: Path) -> None:
        self.group = group
        self.layout: StoreLayout = read_layout(group)
        self.event_ids: tuple[str, ...] = read_event_ids(group, self.layout)
        self._arrays = {
            array.name: _ShardedArray(group, self.layout, array) for array in self.layout.arrays
        }
        missing = []
        for shard in range(self.layout.num_shards):
            marker = read_marker(group, self.layout, shard)
            if marker is None or sizes_differ(group, self.layout, shard, marker):
                missing.append(shard)
                continue
            events = self.layout.shard_events(shard)
            for name, array in self._arrays.items():
                array.crc32c[events.start : events.stop] = marker.files[name].event_crc32c
        if missing:
            raise UserError(_why_incomplete(group, self.layout, missing))

    def read_windows(
        self,
        *,
        events: Sequence[int] | np.ndarray,
        starts: Sequence[int] | np.ndarray,
        length: int,
        out: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the posterior's mean and standard deviation, each ``[B, L, h, w, c]`` float16.

        Args:
            events: event numbers ``[B]``.
            starts: first frame of each window ``[B]``.
            length: frames L of a window.
            out: arrays to fill, C-contiguous; new ones by default.

        Raises:
            UserError: a shard is damaged or was taken away.
        """
        mean, std = out or (None, None)
        return (
            self.read_array("mean", events=events, starts=starts, length=length, out=mean),
            self.read_array("std", events=events, starts=starts, length=length, out=std),
        )

    def read_array(
        self,
        name: str,
        *,
        events: Sequence[int] | np.ndarray,
        starts: Sequence[int] | np.ndarray,
        length: int,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Read windows of one array: ``mean``, ``std`` (float16) or ``intensity`` (float32).

        Args and errors are those of `read_windows`; returns ``[B, L, ...]``.
        """
        array = self._arrays[name]
        shape = (len(events), length, *array.spec.item_shape[1:])
        if out is None:
            out = page_aligned_empty(shape, array.spec.dtype)
        assert out.shape == shape, (out.shape, shape)
        assert out.dtype == array.spec.dtype, (out.dtype, array.spec.dtype)
        assert out.flags.c_contiguous
        event_B, start_B = np.asarray(events, np.int64), np.asarray(starts, np.int64)
        assert np.all((event_B >= 0) & (event_B < self.layout.num_events)), events
        assert np.all((start_B >= 0) & (start_B <= self.layout.num_frames - length)), starts
        if len(out):
            array.read(event_B, start_B, out.reshape(len(out), -1).view(np.uint8))
        return out

    def close(self) -> None:
        """Close the shard files."""
        for array in self._arrays.values():
            array.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def page_aligned_empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return a new array that starts at a page, as numpy's own large arrays do not.

    Latents start at pages of their files, too. To a buffer 16 bytes after a page, where numpy puts
    it, the same copy takes up to twice as long (the processor takes loads for dependent on stores
    4096 bytes apart).
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + PAGE, np.uint8)
    first = -room.ctypes.data % PAGE
    return room[first : first + size].view(dtype).reshape(shape)


class _ShardedArray:
    """One array: where its events are, and which of them were checked."""

    def __init__(self, group: Path, layout: StoreLayout, spec: ArraySpec) -> None:
        self.spec = spec
        self.crc32c = np.zeros(layout.num_events, np.uint32)
        self._group = group
        self._layout = layout
        self._checked = np.zeros(layout.num_events, bool)
        self._offsets = np.zeros(layout.num_events, np.int64)  # of events in their files
        self._versions: dict[int, object] = {}  # of the files that these are from, by shard

    def read(self, event_B: np.ndarray, start_B: np.ndarray, rows: np.ndarray) -> None:
        """Fill ``rows`` (the bytes of B windows) with frames of the events, from the starts on."""
        shards = (event_B // self._layout.events_per_shard).tolist()
        frame_bytes = self.spec.item_bytes // self.spec.item_shape[0]
        files = self._acquire(shards)
        at = 0  # the window that an error is about
        try:
            for at in np.flatnonzero(~self._checked[event_B]).tolist():
                self._check(files[at], int(event_B[at]))
            offsets = (self._offsets[event_B] + start_B * frame_bytes).tolist()
            at = 0
            for file, row, offset in zip(files, rows, offsets, strict=True):
                read_exactly(file.descriptor, row, offset)
                at += 1
        except DamagedShardError as error:
            raise self._refusal(shards[at], f"event {event_B[at]}: {error}") from error
        finally:
            SHARD_FILES.release(files)

    def _acquire(self, shards: list[int]) -> list[OpenFile]:
        try:
            files = SHARD_FILES.acquire([(self, shard) for shard in shards], self._file)
        except FileNotFoundError as error:
            raise UserError(
                f"{error.filename} was taken away: run `prediff cache latents`"
            ) from error
        for shard, file in zip(shards, files, strict=True):
            if self._versions.get(shard) != file.version:
                try:
                    self._read_index(shard, file)
                except DamagedShardError as error:
                    SHARD_FILES.release(files)
                    raise self._refusal(shard, str(error)) from error
        return files

    def _refusal(self, shard: int, problem: str) -> UserError:
        return UserError(
            f"{self._file((self, shard))} is damaged ({problem}): run `prediff cache verify "
            "--repair`, then `prediff cache latents`"
        )

    def close(self) -> None:
        SHARD_FILES.close(lambda key: key[0] is self)

    def _file(self, key: ShardKey) -> Path:
        return self.spec.shard_file(self._group, key[1])

    def _read_index(self, shard: int, file: OpenFile) -> None:
        events = self._layout.shard_events(shard)
        span = slice(events.start, events.stop)
        self._checked[span] = False
        self._offsets[span] = read_shard_index(
            file.descriptor,
            array=self.spec,
            events=len(events),
            events_per_shard=self._layout.events_per_shard,
        )
        self._versions[shard] = file.version

    def _check(self, file: OpenFile, event: int) -> None:
        data = np.empty(self.spec.item_bytes + CRC_BYTES, np.uint8)
        read_exactly(file.descriptor, data, int(self._offsets[event]))
        crc = google_crc32c.value(data[:-CRC_BYTES])
        if crc != self.crc32c[event] or crc != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise DamagedShardError("its checksum is wrong")
        self._checked[event] = True


def _why_absent(path: Path, *, identity: StoreIdentity, variant: str) -> str:
    others = []
    for group in list_groups(path):
        try:
            others.append(read_layout(group))
        except (FileNotFoundError, UserError):
            continue
    command = "run `prediff cache latents`"
    same_data = [layout for layout in others if layout.dataset == identity.dataset]
    if any(layout.vae_sha256 == identity.vae_sha256 for layout in same_data):
        variants = ", ".join(sorted({layout.variant for layout in same_data}))
        return f"{path} has no variant {variant!r} of these latents, only {variants}: {command}"
    if same_data:
        vaes = ", ".join(sorted({layout.vae_sha256 for layout in same_data}))
        return f"{path} holds latents of VAE {vaes}, not of VAE {identity.vae_sha256}: {command}"
    there = ", ".join(sorted({layout.dataset for layout in others})) or "no data set"
    return f"{path} holds latents of {there}, none of {identity.dataset}: {command}"


def _why_incomplete(group: Path, layout: StoreLayout, missing: list[int]) -> str:
    shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
    count = f"{len(missing)} of {layout.num_shards} shards of {group} are missing or damaged"
    builders = builders_at_work(group / MANIFEST)
    if builders:
        return f"{count} ({shown}): {builders[0].describe()} is building them, wait for it"
    return f"{count} ({shown}): run `prediff cache latents`, it computes just those"
