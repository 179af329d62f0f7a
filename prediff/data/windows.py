"""Windows: the sequences that are cut from events, and their split for training and validation.

A window is a pair (position of the event, first frame). Source: MODEL section 6.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from hpc.errors import UserError

SplitRule = Literal["by_event", "by_day", "by_group", "by_sequence"]

# pandas' sample(random_state=1), which the reference calls once to build its list and once more
# to reset it before the first item is read.
_REFERENCE_SHUFFLE_SEED = 1
_REFERENCE_SHUFFLES = 2


def window_starts(*, frames: int, length: int, stride: int) -> list[int]:
    """Return the first frames of the windows of one event: 0, stride, ... while a window fits.

    Raises:
        UserError: not even one window fits.
    """
    assert length > 0
    assert stride > 0
    if length > frames:
        raise UserError(
            f"A sequence of {length} frames does not fit into events of {frames} frames: shorten "
            f"the context or the forecast"
        )
    return list(range(0, frames - length + 1, stride))


def cut_windows(*, events: int, frames: int, length: int, stride: int) -> np.ndarray:
    """Return all windows ``[events * k, 2]`` int64, item ``k * event + j`` being window j.

    With SEVIR-LR's 25 frames, length 13 and stride 6 the starts are 0, 6, 12, so k is 3.
    """
    starts = window_starts(frames=frames, length=length, stride=stride)
    return np.stack(
        [np.repeat(np.arange(events), len(starts)), np.tile(np.array(starts), events)], axis=1
    )


def split_by_event(
    ids: Sequence[str], *, validation_fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Return the positions of the training and of the validation events, both ascending.

    The events whose ``SHA-256(seed:id)`` is lowest validate, so the split does not depend on the
    order of the list and hardly changes when events are added. A positive fraction gives at least
    one event to either side when there are two or more.
    """
    by_hash = sorted(
        range(len(ids)), key=lambda i: hashlib.sha256(f"{seed}:{ids[i]}".encode()).digest()
    )
    count = round(validation_fraction * len(ids))
    if validation_fraction > 0 and len(ids) > 1:
        count = min(max(count, 1), len(ids) - 1)
    return sorted(by_hash[count:]), sorted(by_hash[:count])


def reference_event_order(events: int) -> np.ndarray:
    """Return the positions, in the id-ordered list, of the events as the reference visits them.

    Equal to pandas' ``sample(frac=1, random_state=1)`` applied twice.
    """
    order = np.arange(events)
    for _ in range(_REFERENCE_SHUFFLES):
        generator = np.random.RandomState(_REFERENCE_SHUFFLE_SEED)
        order = order[generator.choice(events, size=events, replace=False)]
    return order


def reference_split_by_sequence(
    items: int, *, validation_fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and the validation items as PyTorch's seeded ``random_split`` does.

    Item numbers refer to the events in :func:`reference_event_order`. Sequences of one event fall
    on both sides and overlap, so validation scores of this split are too good; it is here to
    repeat published numbers.
    """
    order = _torch_permutation(items, seed)
    train = items - math.floor(validation_fraction * items)
    return order[:train], order[train:]


def _torch_permutation(count: int, seed: int) -> np.ndarray:
    """Return ``torch.randperm(count, generator=Generator().manual_seed(seed))`` on the CPU.

    Both libraries seed the same Mersenne Twister in the same way, and PyTorch shuffles with its raw
    32-bit output modulo the number of items that are left.
    """
    raw = np.random.RandomState(seed).randint(0, 2**32, size=max(count - 1, 0), dtype=np.uint32)
    order = np.arange(count)
    for i, number in enumerate(raw):
        j = i + int(number) % (count - i)
        order[i], order[j] = order[j], order[i]
    return order
