"""The header of a safetensors file, read and checked here.

The file: eight bytes with the length of a JSON header, the header, the arrays. The header names for
each array its type, shape, and where its bytes begin and end behind the header; they lie one after
another without holes.
"""

import json
from pathlib import Path
from typing import Any

from hpc.errors import UserError
from prediff.convert.stored_array import (
    BFLOAT16,
    MOST_ARRAYS,
    StoredArray,
    check_array,
    check_name,
)

LARGEST_HEADER = 8_000_000
"""Bytes; the largest network of ours has 300 thousand."""
METADATA = "__metadata__"
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": BFLOAT16, "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32",
    "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def safetensors_entries(path: Path) -> dict[str, StoredArray]:
    """Return what a safetensors file holds, by name.

    Raises:
        UserError: the file is missing, cut, or does not hold what its header says; one line.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(size - 8, LARGEST_HEADER):
                raise UserError(
                    f"a header of {length} bytes in a file of {size}; at most {LARGEST_HEADER} "
                    "are read"
                )
            header = json.loads(stream.read(length), object_pairs_hook=_once)
        return _entries(header, begin=8 + length, size=size)
    except UserError as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: not a whole safetensors file (its header is no JSON)") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UserError("a name stands twice in its header")
    if len(found) > MOST_ARRAYS:
        raise UserError(f"more than {MOST_ARRAYS} arrays")
    return found


def _entries(header: Any, *, begin: int, size: int) -> dict[str, StoredArray]:
    if not isinstance(header, dict):
        raise UserError("its header is no JSON object")
    header.pop(METADATA, None)
    found: dict[str, StoredArray] = {}
    for name, said in header.items():
        check_name(name)
        if not isinstance(said, dict) or set(said) != {"dtype", "shape", "data_offsets"}:
            raise UserError(f"{name} lacks its type, shape or place")
        if not isinstance(said["dtype"], str) or said["dtype"] not in _DTYPES:
            raise UserError(f"{name} has the type {str(said['dtype'])[:40]!r}: save it as float32")
        shape, offsets = said["shape"], said["data_offsets"]
        if not (_numbers(shape) and _numbers(offsets)) or len(offsets) != 2:
            raise UserError(f"{name} has a shape or place that is not a list of numbers")
        start, stop = offsets
        if not start <= stop <= size - begin:
            raise UserError(f"{name} reaches beyond the end of the file; it may be truncated")
        array = StoredArray(
            dtype=_DTYPES[said["dtype"]],
            shape=tuple(shape),
            pieces=((begin + start, stop - start),),
        )
        check_array(name, array)
        found[name] = array
    _check_order(found, begin=begin, size=size)
    return found


def _check_order(found: dict[str, StoredArray], *, begin: int, size: int) -> None:
    at = begin
    for name, array in sorted(found.items(), key=lambda item: (item[1].pieces[0], item[0])):
        ((offset, length),) = array.pieces
        if offset != at:
            raise UserError(f"{name} does not begin where the array before it ends")
        at += length
    if at != size:
        raise UserError(f"{size - at} bytes behind its arrays belong to none")


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)
