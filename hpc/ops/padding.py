"""Zeros around an array, with a gradient that is right in every step.

`ops.pad` is not used: on the CPU (MindSpore 2.8 and 2.10) its gradient adds to what the memory
held, so it is right the first time a graph runs and wrong from then on.
"""

from collections.abc import Sequence

from mindspore import Tensor, ops


def pad_with_zeros(x: Tensor, margins: Sequence[tuple[int, int]]) -> Tensor:
    """Return x with zeros before and after its entries; usable in graphs.

    Args:
        x: any shape.
        margins: (before, after) of each axis.
    """
    return ops.Pad(margins)(x)
