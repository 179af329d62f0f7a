"""Arrays from rank to rank, outside of graphs."""

import mindspore as ms
import numpy as np
from mindspore import Tensor
from mindspore.mint.distributed import distributed

from hpc.cluster.runtime import Runtime


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
