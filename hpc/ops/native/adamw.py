"""What the optimizer does to a bucket, as native operators for CPU hosts.

MindSpore has no such kernel; as operations of its own a step of AdamW reads and writes the state
some twenty times.
"""

from collections.abc import Sequence

import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.ops import signature

from hpc.ops.native.elementwise import native_operator


def _in_place(name: str, writes: Sequence[bool]) -> ops.Custom:
    """Return an operator that overwrites some of its inputs, which must be parameters.

    Without the signature the framework hands over a copy of a parameter where it sees fit. It drops
    an operator whose output nobody uses all the same.
    """
    operator = native_operator(name, (1,), ms.float32)
    operator.add_prim_attr("side_effect_mem", True)
    access = {True: signature.sig_rw.RW_WRITE, False: signature.sig_rw.RW_READ}
    operator.set_signatures(
        [signature.make_sig(f"x{i}", access[write]) for i, write in enumerate(writes)]
    )
    return operator


class NativeAdamWStep(nn.Cell):
    """Overwrite weights, moments and average of a bucket by those of a step of AdamW.

    ``construct(gradient, first, second, average, factors, after, *weights) -> done [1]``: gradient
    and state are `[R, 1024]`, an average that is not kept is anything of another size, weights are
    the parameters of the bucket in order. `factors` `[9]` are, by the names of hpc/train/optim.py,
    on, clip, gain1, gain2, unbiased, eps, shrink, rate and the gain of the average; on = 0 changes
    nothing. It runs after `after`.

    Args:
        weights: how many parameters the bucket has.
        has_average: whether an average is kept.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self, *, weights: int, has_average: bool):
        super().__init__()
        writes = (False, True, True, has_average, False, False, *[True] * weights)
        self.operator = _in_place("AdamWStep", writes)

    def construct(self, *operands: Tensor) -> Tensor:
        return self.operator(*operands)


class NativeClear(nn.Cell):
    """``construct(bucket, after) -> done [1]``: set a parameter to zeros; see `NativeAdamWStep`.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self):
        super().__init__()
        self.operator = _in_place("Clear", (True, False))

    def construct(self, bucket: Tensor, after: Tensor) -> Tensor:
        return self.operator(bucket, after)


class NativeSumOfSquares(nn.Cell):
    """``construct(x) -> [1]``, the same bits for any number of threads.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self):
        super().__init__()
        self.operator = native_operator("SumOfSquares", (1,), ms.float32)

    def construct(self, x: Tensor) -> Tensor:
        return self.operator(x)
