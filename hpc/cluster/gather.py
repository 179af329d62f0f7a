"""What the ranks of a group hold, collected on each of them, outside of graphs."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import communication

from hpc.cluster.job import job_secret
from hpc.cluster.messages import (
    CODE_BYTES,
    MessageRefused,
    check_code,
    code,
    decode,
    encode,
)

MOST_BYTES = 2**31 - 1
_LENGTH_BYTES = 8
_gathered: Counter[str] = Counter()
"""How many messages this process has sent in each group."""


def gather_arrays(
    arrays: Mapping[str, np.ndarray], *, group: str | None, size: int
) -> dict[str, np.ndarray]:
    """Return the arrays of all ranks of a group together, by name. At most 2 GB a rank."""
    whole: dict[str, np.ndarray] = {}
    for part in gather_in_group(dict(arrays), group=group, size=size):
        whole.update(part)
    return whole


def gather_in_group(value: Any, *, group: str | None, size: int) -> list[Any]:
    """Return the plain value of every rank of a group, in rank order; all of them call it.

    Raises:
        TypeError: the value is not plain (`hpc.cluster.messages.encode`).
        MessageRefused: somebody who is not of this job sent in a rank's name.
    """
    if group is None:
        return [value]
    payload, secret = encode(value), job_secret()
    number, own = _gathered[group], communication.get_rank(group)
    _gathered[group] += 2
    assert len(payload) <= MOST_BYTES, f"a message of {len(payload)} bytes"
    length = len(payload).to_bytes(_LENGTH_BYTES, "little")
    head = length + code(length, secret=secret, group=group, number=number, sender=own)
    lengths = []
    for sender, message in enumerate(_gather_bytes(head, group=group, size=size)):
        length, given = message[:_LENGTH_BYTES], message[_LENGTH_BYTES:]
        check_code(given, length, secret=secret, group=group, number=number, sender=sender)
        lengths.append(int.from_bytes(length, "little"))
        if lengths[-1] > MOST_BYTES:
            raise MessageRefused(f"rank {sender} of the group {group} sends {lengths[-1]} bytes")
    number += 1
    body = code(payload, secret=secret, group=group, number=number, sender=own) + payload
    longest = max(lengths) + CODE_BYTES
    values = []
    messages = _gather_bytes(body.ljust(longest, b"\0"), group=group, size=size)
    for sender, (message, count) in enumerate(zip(messages, lengths, strict=True)):
        given, payload = message[:CODE_BYTES], message[CODE_BYTES : CODE_BYTES + count]
        check_code(given, payload, secret=secret, group=group, number=number, sender=sender)
        values.append(decode(payload))
    return values


def _gather_bytes(message: bytes, *, group: str, size: int) -> list[bytes]:
    """Return the equally long messages of all ranks of a group."""
    mine = ms.Tensor(np.frombuffer(message, np.int8))
    everyone = [ms.Tensor(np.zeros(len(message), np.int8)) for _ in range(size)]
    ms.mint.distributed.all_gather(everyone, mine, group=group)
    return [each.asnumpy().tobytes() for each in everyone]
