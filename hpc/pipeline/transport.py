"""Arrays from rank to rank, outside of graphs."""

from collections.abc import Mapping
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor
from mindspore.mint.distributed import distributed
from safetensors.numpy import load, save

from hpc.runtime import Runtime


class Transport:
    """Point-to-point messages between the ranks of a job, by their global numbers.

    Messages between two ranks arrive in the order in which they were sent. A send returns when the
    array may be forgotten; whether it waits for the receive is the backend's choice.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.group = runtime.world_group
        if self.group is not None:
            # MindSpore binds the group that `send` looks its own rank up in when it is imported,
            # before the backend of this process, and with it the group's name, is known.
            distributed.get_cache_group_rank.__defaults__ = (self.group,)

    def send(self, array: Tensor, *, peer: int) -> None:
        """Send an array."""
        assert self.group is not None, "one process has nobody to send to"
        ms.mint.distributed.send(array, dst=peer, group=self.group)

    def receive(self, shape: tuple[int, ...], *, peer: int) -> Tensor:
        """Wait for a float32 array."""
        assert self.group is not None, "one process has nobody to receive from"
        array = Tensor(np.empty(shape, np.float32))
        ms.mint.distributed.recv(array, src=peer, group=self.group)
        return array


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
