"""What the ranks of a group hold, collected on each of them, outside of graphs."""

from collections.abc import Mapping
from typing import Any

import mindspore as ms
import numpy as np
from safetensors.numpy import load, save


def gather_arrays(
    arrays: Mapping[str, np.ndarray], *, group: str | None, size: int
) -> dict[str, np.ndarray]:
    """Return the arrays of all ranks of a group together, by name. At most 2 GB a rank."""
    # MindSpore refuses to unpickle arrays, but not bytes.
    whole: dict[str, np.ndarray] = {}
    for part in gather_in_group(save(dict(arrays)), group=group, size=size):
        whole.update(load(part))
    return whole


def gather_in_group(value: Any, *, group: str | None, size: int) -> list[Any]:
    """Return the plain Python value of every rank of a group, in rank order."""
    if group is None:
        return [value]
    values: list[Any] = [None] * size
    ms.mint.distributed.all_gather_object(values, value, group=group)
    return values
