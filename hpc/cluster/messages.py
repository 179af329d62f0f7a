"""What ranks tell each other, as bytes: plain values only, and only from this job.

Ports of a rank are open to whoever reaches the host. So nothing that could run code is read from
them (no pickle), sizes are checked before memory is asked for, and every message carries a code
(HMAC-SHA-256) made with a secret that only processes of the job can read, over its group, its
number and its sender: a stranger's message, or an old one again, ends the job in one line.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpc.errors import UserError

CODE_BYTES = hashlib.sha256().digest_size
_DTYPE = re.compile(r"[<>|=]([biufc]\d+|[SU]\d+|[Mm]8\[[0-9]*[a-zA-Z]+\])")
"""Numbers, truth values, texts and times; no objects."""
_LENGTH_BYTES = 8


class MessageRefused(UserError):
    """A message that no rank of this job can have sent."""


def encode(value: Any) -> bytes:
    """Return a plain value as bytes.

    Args:
        value: None, truth values, numbers, texts, bytes and arrays of those, in lists, tuples and
            mappings.

    Raises:
        TypeError: something else.
    """
    buffers: list[bytes] = []
    head = json.dumps(_to_json(value, buffers)).encode()
    return b"".join([len(head).to_bytes(_LENGTH_BYTES, "little"), head, *buffers])


def decode(message: bytes) -> Any:
    """Return the value that `encode` was given.

    Raises:
        MessageRefused: these are not the bytes of a plain value.
    """
    view = memoryview(message)
    length = int.from_bytes(view[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    if len(view) < start:
        raise MessageRefused("a message of another rank is shorter than it says")
    try:
        reader = _Reader(view[start:])
        value = reader.value(json.loads(bytes(view[_LENGTH_BYTES:start])))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise MessageRefused(f"a message of another rank is no plain value: {error}") from None
    if reader.rest:
        raise MessageRefused("a message of another rank is longer than it says")
    return value


def code(payload: bytes, *, secret: bytes, group: str, number: int, sender: int) -> bytes:
    """Return the code that proves who sent a message, which one it is, and that it is whole."""
    place = json.dumps([group, number, sender, len(payload)]).encode()
    return hmac.digest(secret, hashlib.sha256(place).digest() + payload, "sha256")


def check_code(
    given: bytes, payload: bytes, *, secret: bytes, group: str, number: int, sender: int
) -> None:
    """Check a message's code.

    Raises:
        MessageRefused: it is another one.
    """
    own = code(payload, secret=secret, group=group, number=number, sender=sender)
    if not hmac.compare_digest(given, own):
        raise MessageRefused(
            f"a message in the name of rank {sender} of the group {group} is not from this job: "
            "somebody else reaches the ports of its ranks (docs/training-at-scale.md tells how to "
            "close them), or the network changes bytes"
        )


def _to_json(value: Any, buffers: list[bytes]) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if _DTYPE.fullmatch(array.dtype.str) is None:
            raise TypeError(f"arrays of {array.dtype} are not sent to other ranks")
        buffers.append(array.tobytes())
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: [array.dtype.str, list(array.shape)]}
    if isinstance(value, int | float):
        return value
    if isinstance(value, bytes):
        buffers.append(value)
        return {"bytes": len(value)}
    if isinstance(value, Mapping):
        return {"map": [[_to_json(k, buffers), _to_json(v, buffers)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_to_json(each, buffers) for each in value]}
    if isinstance(value, Sequence):
        return [_to_json(each, buffers) for each in value]
    raise TypeError(f"{type(value).__name__} is not sent to other ranks: send plain values")


class _Reader:
    """Builds a value and takes the bytes of its arrays from the front of what is left."""

    def __init__(self, rest: memoryview) -> None:
        self.rest = rest

    def value(self, found: Any) -> Any:
        if isinstance(found, list):
            return [self.value(each) for each in found]
        if not isinstance(found, dict):
            return found
        ((kind, content),) = found.items()
        if kind == "map":
            return {self.value(key): self.value(each) for key, each in content}
        if kind == "tuple":
            return tuple(self.value(each) for each in content)
        if kind == "bytes":
            return bytes(self._take(content))
        if kind in ("array", "scalar"):
            array = self._array(*content)
            return array if kind == "array" else array[()]
        raise ValueError(f"unknown kind {kind!r}")

    def _array(self, dtype: str, shape: list[int]) -> np.ndarray:
        if not isinstance(dtype, str) or _DTYPE.fullmatch(dtype) is None:
            raise ValueError(f"unknown type {dtype!r}")
        count = 1
        for size in shape:
            if type(size) is not int or size < 0:
                raise ValueError(f"no shape: {shape}")
            count *= size
        found = np.dtype(dtype)
        return np.frombuffer(self._take(count * found.itemsize), found).reshape(shape).copy()

    def _take(self, count: int) -> memoryview:
        if type(count) is not int or not 0 <= count <= len(self.rest):
            raise ValueError(f"{count} bytes where {len(self.rest)} are left")
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken
