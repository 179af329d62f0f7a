"""Arrays as files of weights declare them, checked before memory is taken or a byte is read.

A file says of each array its name, type, shape and place. Here these must agree with one another
and with the file's size; only then is the array made, by numpy, of bytes that are there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hpc.errors import UserError

LONGEST_NAME = 500
MOST_DIMENSIONS = 8
MOST_ARRAYS = 100_000
BFLOAT16 = "bfloat16"
"""Stored as 16 bits and widened to float32 on reading: numpy has no such type."""


@dataclass(frozen=True)
class StoredArray:
    """One array of a file.

    Attributes:
        dtype: numpy's name of the type, or `BFLOAT16`.
        shape: not negative.
        pieces: where its bytes lie, (offset, size) in the file, one after another.
    """

    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[tuple[int, int], ...]

    @property
    def stored_bytes(self) -> int:
        return sum(size for _, size in self.pieces)

    def read(self, stream: BinaryIO) -> np.ndarray:
        """Return the array of an open file.

        Raises:
            EOFError: the file ends before the array does.
        """
        stored = np.dtype("<u2" if self.dtype == BFLOAT16 else self.dtype).newbyteorder("<")
        array = np.empty(self.shape, stored)
        into = memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        for offset, size in self.pieces:
            stream.seek(offset)
            if stream.readinto(into[:size]) != size:  # type: ignore[attr-defined]
                raise EOFError("the file has become shorter")
            into = into[size:]
        return widened(array) if self.dtype == BFLOAT16 else array


def widened(bits: np.ndarray) -> np.ndarray:
    """Return the float32 values of bfloat16 bits, uint16 of any shape."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def item_bytes(dtype: str) -> int:
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def check_name(name: str) -> str:
    """Return the name of an array.

    Raises:
        UserError: it is none that a network of ours could have.
    """
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise UserError(f"an array with a name of {len(name)} characters, {name[:40]!r}...")
    return name


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise UserError for sides that no array of ours has, also where one of them is 0."""
    sides = [max(n, 1) for n in shape]
    if len(shape) > MOST_DIMENSIONS or min(shape, default=0) < 0 or prod(sides) > 2**40:
        raise UserError(f"the shape {_shown(shape)}, which no array has")


def check_array(name: str, array: StoredArray) -> None:
    """Raise UserError unless an array's shape needs just the bytes that are stored for it."""
    try:
        check_shape(array.shape)
    except UserError as error:
        raise UserError(f"{name} has {error}") from None
    needed = prod(array.shape) * item_bytes(array.dtype)
    if needed != array.stored_bytes:
        raise UserError(
            f"{name} {_shown(array.shape)} of {array.dtype} needs {needed} bytes and has "
            f"{array.stored_bytes}: the file is damaged"
        )


def check_total(arrays: Iterable[tuple[str, tuple[int, ...]]], *, file_bytes: int) -> None:
    """Refuse arrays that would take more than twice the memory of their file.

    Several tensors of a PyTorch file may lie over one another, and each becomes an array.

    Args:
        arrays: type and shape of each.
        file_bytes: size of the file.

    Raises:
        UserError: with both numbers.
    """
    total = sum(prod(s) * (4 if d == BFLOAT16 else item_bytes(d)) for d, s in arrays)
    if total > 2 * file_bytes:
        raise UserError(
            f"its tensors would take {total} bytes, the file has {file_bytes}: save copies "
            "that do not share their storage"
        )


def read_arrays(path: Path, arrays: Mapping[str, StoredArray]) -> dict[str, np.ndarray]:
    """Return arrays of a file by name.

    Raises:
        UserError: the file cannot be read any more.
    """
    try:
        with path.open("rb") as stream:
            return {name: array.read(stream) for name, array in arrays.items()}
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _shown(shape: tuple[int, ...]) -> str:
    return str(list(shape[: MOST_DIMENSIONS + 1]))[:200]
