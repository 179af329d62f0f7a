"""Reading a table of one number a time step for a batch of samples."""

import mindspore as ms
import numpy as np
from mindspore import ops


def float_tensor(table: np.ndarray) -> ms.Tensor:
    """Return a float64 table as the float32 tensor that graphs read."""
    return ms.Tensor(np.asarray(table, np.float32))


def at_step(table: ms.Tensor, step: ms.Tensor, like: ms.Tensor) -> ms.Tensor:
    """Return ``table[step]`` as ``[B, 1, ...]`` with the rank of ``like``. Usable in graphs.

    Args:
        table: float32 ``[n]``.
        step: int ``[B]``.
        like: a tensor ``[B, ...]``.
    """
    return ops.gather(table, step, 0).reshape((-1,) + (1,) * (like.ndim - 1))
