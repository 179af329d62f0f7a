"""One shard file of zarr's `sharding_indexed` codec: events one after the other, index at the end.

Each event is its little-endian bytes and their CRC-32C (4 bytes), padded with zeros to the array's
alignment (the format allows gaps: readers go by the index). The index holds offset and length
of each of the k events of a full shard as 64-bit integers, all ones for the events after the last,
and ends with its own CRC-32C.

Source: Zarr v3 specification, codecs "sharding-indexed" version 1.0 and "crc32c" version 1.0.
"""

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from hpc.durable_files import flush_to_disk, open_new
from prediff.latents.layout import ArraySpec

CRC_BYTES = 4
_ABSENT = np.uint64(2**64 - 1)


class DamagedShardError(ValueError):
    """A shard file is not what its builder wrote; the message says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class ShardFileRecord:
    """What the manifest keeps of a shard file."""

    size: int
    sha256: str
    event_crc32c: tuple[int, ...]


class ShardWriter:
    """Streams the events of one shard of one array into a new file.

    Args:
        file: created; must not exist.
        array: what the events look like.
        events_per_shard: slots of a full shard.
    """

    def __init__(self, file: Path, *, array: ArraySpec, events_per_shard: int) -> None:
        self._array = array
        self._slots = events_per_shard
        self._crcs: list[int] = []
        self._hash = hashlib.sha256()
        self._stream = open_new(file)  # closed by finish or close

    def append(self, item: np.ndarray) -> None:
        """Write the next event, of the array's shape and dtype."""
        assert item.shape == self._array.item_shape, (item.shape, self._array.item_shape)
        assert item.dtype == self._array.dtype, (item.dtype, self._array.dtype)
        assert len(self._crcs) < self._slots
        data = np.ascontiguousarray(item, item.dtype.newbyteorder("<")).tobytes()
        crc = google_crc32c.value(data)
        self._crcs.append(crc)
        padding = bytes(_slot_bytes(self._array) - len(data) - CRC_BYTES)
        # One write an event: the page cache then keeps it in few large pieces, which read faster.
        self._write(data + struct.pack("<I", crc) + padding)

    def finish(self) -> ShardFileRecord:
        """Write the index, flush everything to the disk, and return the file's record."""
        index = np.full((self._slots, 2), _ABSENT, "<u8")
        count = len(self._crcs)
        index[:count, 0] = np.arange(count) * _slot_bytes(self._array)
        index[:count, 1] = self._array.item_bytes + CRC_BYTES
        index_bytes = index.tobytes()
        self._write(index_bytes)
        self._write(struct.pack("<I", google_crc32c.value(index_bytes)))
        self._stream.flush()
        flush_to_disk(self._stream.fileno())
        record = ShardFileRecord(
            size=self._stream.tell(),
            sha256=self._hash.hexdigest(),
            event_crc32c=tuple(self._crcs),
        )
        self._stream.close()
        return record

    def close(self) -> None:
        """Let go of the file, finished or not."""
        self._stream.close()

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._stream.write(data)


def shard_file_size(array: ArraySpec, *, events: int, events_per_shard: int) -> int:
    """Return the bytes of a shard file with ``events`` events in it."""
    return events * _slot_bytes(array) + 16 * events_per_shard + CRC_BYTES


def read_shard_index(
    descriptor: int, *, array: ArraySpec, events: int, events_per_shard: int
) -> np.ndarray:
    """Read the offsets ``[events]`` int64 of the events in an open shard file.

    Raises:
        DamagedShardError: wrong size, wrong checksum of the index, or an event outside the file.
    """
    size = os.fstat(descriptor).st_size
    expected = shard_file_size(array, events=events, events_per_shard=events_per_shard)
    if size != expected:
        raise DamagedShardError(f"it has {size} bytes instead of {expected}")
    index_bytes = 16 * events_per_shard
    data = os.pread(descriptor, index_bytes + CRC_BYTES, size - index_bytes - CRC_BYTES)
    if google_crc32c.value(data[:index_bytes]) != int.from_bytes(data[index_bytes:], "little"):
        raise DamagedShardError("the checksum of its index is wrong")
    index = np.frombuffer(data, "<u8", 2 * events).reshape(events, 2)
    length = array.item_bytes + CRC_BYTES
    if np.any(index[:, 1] != length) or np.any(index[:, 0] > size - length):
        raise DamagedShardError("its index points outside the file")
    return index[:, 0].astype(np.int64)


def read_exactly(descriptor: int, buffer: np.ndarray, offset: int) -> None:
    """Fill ``buffer`` (uint8) from the file at ``offset``.

    Raises:
        DamagedShardError: the file ends before.
    """
    view = buffer.data
    done = os.preadv(descriptor, [view], offset)
    while done < len(view):
        got = os.preadv(descriptor, [view[done:]], offset + done)
        if got == 0:
            raise DamagedShardError(f"it ends at byte {offset + done}, inside an event")
        done += got


def _slot_bytes(array: ArraySpec) -> int:
    return -(-(array.item_bytes + CRC_BYTES) // array.alignment) * array.alignment


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file, in hex digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
