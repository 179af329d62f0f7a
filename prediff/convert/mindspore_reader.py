"""MindEarth's ``.ckpt`` files: MindSpore checkpoints whose names become the reference's.

They are read here and not by MindSpore, whose reader copies as many bytes as a file gives into as
much memory as its shape says. The file is a protocol buffer of few fields:

    Checkpoint  1: Value, once for each array, or for each piece of a large one
    Value       1: name   2: Tensor
    Tensor      1: size of a dimension   2: name of the type   3: bytes
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hpc.errors import UserError
from prediff.convert.stored_array import (
    BFLOAT16,
    MOST_ARRAYS,
    MOST_DIMENSIONS,
    StoredArray,
    check_array,
    check_name,
    read_arrays,
)

# MindSpore's layers name the same arrays differently from PyTorch's.
_ENDINGS = {"gamma": "weight", "beta": "bias", "embedding_table": "weight"}
_TABLES = {
    "pos_embed.t_embed.": "pos_embed.T_embed.",
    "pos_embed.h_embed.": "pos_embed.H_embed.",
    "pos_embed.w_embed.": "pos_embed.W_embed.",
}
# nn.Conv1d keeps its weight as [out, in, 1, kernel].
_CONV1D = (".qkv_proj.weight", ".c_proj.weight")
_DTYPES = {
    "Float64": "float64", "Float32": "float32", "Float16": "float16", "BFloat16": BFLOAT16,
    "Int64": "int64", "Int32": "int32", "Int16": "int16", "Int8": "int8", "UInt64": "uint64",
    "UInt32": "uint32", "UInt16": "uint16", "UInt8": "uint8", "Bool": "bool",
}  # fmt: skip
_TEXT = "str"  # settings that MindSpore keeps beside the weights
_CHECKSUM = b"crc_num"
_CHECKSUM_BYTES = 17
_VARINT, _LENGTH = 0, 2
_LONGEST_TEXT = 4 * 500


def read_mindspore(path: Path) -> dict[str, np.ndarray]:
    """Read a MindSpore checkpoint under the reference's parameter names.

    Wrapper prefixes (``net.``, ``main_model.``) stay; ``networks.network_entries`` removes them.

    Raises:
        UserError: not a MindSpore checkpoint, or damaged.
    """
    return read_arrays(path, mindspore_entries(path))


def mindspore_entries(path: Path) -> dict[str, StoredArray]:
    """Return what a MindSpore checkpoint holds, under the reference's parameter names.

    Raises:
        UserError: not a MindSpore checkpoint, or damaged; one line.
    """
    try:
        with path.open("rb") as stream:
            stored = _joined(_Fields(stream).arrays())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (UserError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, UserError) else "a name that is no text"
        raise UserError(
            f"{path}: neither PyTorch, nor safetensors, nor a readable MindSpore file ({reason})"
        ) from None
    found: dict[str, StoredArray] = {}
    for name, array in stored.items():
        renamed = reference_name(name)
        if renamed in found:
            raise UserError(f"{path}: two parameters mean {renamed}")
        shape = array.shape
        if renamed.endswith(_CONV1D) and len(shape) == 4 and shape[2] == 1:
            array = replace(array, shape=(*shape[:2], shape[3]))
        found[renamed] = array
    return found


def reference_name(name: str) -> str:
    """Translate one of MindSpore's parameter names, such as ``norm.gamma`` to ``norm.weight``."""
    stem, _, ending = name.rpartition(".")
    renamed = f"{stem}.{_ENDINGS.get(ending, ending)}" if stem else name
    for theirs, ours in _TABLES.items():
        renamed = renamed.replace(theirs, ours)
    return renamed


def _joined(pieces: Iterator[tuple[str, StoredArray]]) -> dict[str, StoredArray]:
    """Put arrays together whose pieces follow one another, and check them."""
    found: dict[str, StoredArray] = {}
    last = None
    for name, piece in pieces:
        if name not in found:
            found[name] = piece
        elif name == last and (piece.dtype, piece.shape) == (found[name].dtype, found[name].shape):
            found[name] = replace(piece, pieces=found[name].pieces + piece.pieces)
        else:
            raise UserError(f"{name} stands twice")
        last = name
    for name, array in found.items():
        if array.shape == (0,) and array.stored_bytes:  # MindSpore's way to write one number
            found[name] = array = replace(array, shape=())
        check_array(name, array)
    if not found:
        raise UserError("no arrays in it")
    return found


class _Fields:
    """The fields of the protocol buffer; contents of arrays are passed over, not read."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.size = stream.seek(0, 2)
        if self.size > _CHECKSUM_BYTES:
            stream.seek(self.size - _CHECKSUM_BYTES)
            if stream.read(len(_CHECKSUM)) == _CHECKSUM:
                self.size -= _CHECKSUM_BYTES
        self.at = 0
        stream.seek(0)

    def arrays(self) -> Iterator[tuple[str, StoredArray]]:
        count = 0
        while self.at < self.size:
            end = self._begin(self._key(within=self.size), expected=1, within=self.size)
            count += 1
            if count > MOST_ARRAYS:
                raise UserError(f"more than {MOST_ARRAYS} arrays")
            found = self._value(end)
            if found is not None:
                yield found

    def _value(self, end: int) -> tuple[str, StoredArray] | None:
        name, tensor = None, None
        while self.at < end:
            field, kind = self._key(within=end)
            stop = self._begin((field, kind), expected=field, within=end)
            if field == 1 and name is None:
                name = check_name(self._text(stop))
            elif field == 2 and tensor is None:
                tensor = self._tensor(stop)
            else:
                raise UserError(f"field {field} of an array is not known")
        if name is None or tensor is None:
            raise UserError("an array without a name or without values")
        dtype, shape, piece = tensor
        if dtype == _TEXT:
            return None
        if dtype not in _DTYPES:
            raise UserError(f"{name} has the type {dtype[:40]!r}: save it as Float32")
        return name, StoredArray(dtype=_DTYPES[dtype], shape=shape, pieces=(piece,))

    def _tensor(self, end: int) -> tuple[str, tuple[int, ...], tuple[int, int]]:
        shape: list[int] = []
        dtype, piece = None, None
        while self.at < end:
            field, kind = self._key(within=end)
            if (field, kind) == (1, _VARINT):
                shape.append(self._varint(within=end))
                if len(shape) > MOST_DIMENSIONS:
                    raise UserError(f"an array of more than {MOST_DIMENSIONS} dimensions")
                continue
            stop = self._begin((field, kind), expected=field, within=end)
            if field == 2 and dtype is None:
                dtype = self._text(stop)
            elif field == 3 and piece is None:
                piece = (self.at, stop - self.at)
                self.at = self.stream.seek(stop)
            else:
                raise UserError(f"field {field} of an array's values is not known")
        if dtype is None or piece is None:
            raise UserError("an array without a type or without bytes")
        return dtype, tuple(n - 2**64 if n >= 2**63 else n for n in shape), piece

    def _key(self, *, within: int) -> tuple[int, int]:
        number = self._varint(within=within)
        return number >> 3, number & 7

    def _begin(self, key: tuple[int, int], *, expected: int, within: int) -> int:
        """Return where a field of some length ends that begins here."""
        if key != (expected, _LENGTH):
            raise UserError("its fields are not those of a checkpoint")
        end = self._varint(within=within) + self.at
        if end > within:
            raise UserError("it ends before its arrays do; it may be truncated")
        return end

    def _text(self, end: int) -> str:
        if end - self.at > _LONGEST_TEXT:
            raise UserError(f"a name of {end - self.at} bytes")
        content = self.stream.read(end - self.at)
        self.at = end
        return content.decode()

    def _varint(self, *, within: int) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.stream.read(1) if self.at < within else b""
            if not byte:
                break
            self.at += 1
            value |= (byte[0] & 127) << shift
            if byte[0] < 128:
                return value
        raise UserError("a number in it has no end; it may be truncated")
