"""Mutations of valid files, and what a reader may do with the result: values, or one line."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from hpc.errors import UserError

MEGABYTE = 1 << 20
EXTREMES = [
    b"\0", b"\xff", b"\x7f", b"\x80", b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7,
    b"\xff" * 7 + b"\x7f", b"-1", b"9" * 20, b"[[", b"}{", b"\n", b"../", b"1e999", b"\x1b[2J",
]  # fmt: skip


def mutations(size: int) -> st.SearchStrategy[list[tuple[str, int, int, bytes]]]:
    """Return lists of (what to do, where, how many bytes, with what) for a file of some size."""
    one = st.tuples(
        st.sampled_from(["flip", "write", "insert", "delete", "repeat", "cut", "swap"]),
        st.integers(0, max(size - 1, 0)),
        st.integers(1, 64),
        st.one_of(st.sampled_from(EXTREMES), st.binary(min_size=1, max_size=8)),
    )
    return st.lists(one, min_size=1, max_size=6)


def mutated(content: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    """Return a file's bytes after some changes."""
    data = bytearray(content)
    for kind, at, count, fresh in changes:
        at = min(at, max(len(data) - 1, 0))
        match kind:
            case "flip":
                data[at : at + 1] = bytes([(data[at] if data else 0) ^ (1 << count % 8)])
            case "write":
                data[at : at + len(fresh)] = fresh
            case "insert":
                data[at:at] = fresh
            case "delete":
                del data[at : at + count]
            case "repeat":
                data[at:at] = data[at : at + count] * 3
            case "cut":
                del data[-min(count, len(data)) :]
            case "swap":
                piece = data[at : at + count]
                del data[at : at + count]
                data += piece
    return bytes(data)


def read_within_bounds(read: Callable[[Path], Any], path: Path, content: bytes) -> Any:
    """Return what a reader makes of a file, or None where it refuses it in one line.

    Fails if it raises anything else, or takes more than twice the file and 200 MB.
    """
    path.write_bytes(content)
    found = None
    tracemalloc.start()
    try:
        with suppress(UserError):
            found = read(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 * len(content) + 200 * MEGABYTE, f"{peak} bytes for a file of {len(content)}"
    return found
