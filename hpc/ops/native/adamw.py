"""What the optimizer does to a bucket, as native operators for CPU hosts.

MindSpore has no such kernel; as operations of its own a step of AdamW reads and writes the state
some twenty times.
"""

import mindspore as ms
from mindspore import Tensor, nn, ops

from hpc.ops.native.library import elementwise_library


class NativeAdamWStep(nn.Cell):
    """Overwrite weights, moments and average of a bucket by those of a step of AdamW.

    ``construct(gradient, first, second, average, factors, after, *weights) -> done [1]``: gradient
    and state are `[R, 1024]`, an average that is not kept is one number, weights are the parameters
    of the bucket in order. `factors` `[9]` are, by the names of hpc/optim.py, on, clip, gain1,
    gain2, unbiased, eps, shrink, rate and the gain of the average; on = 0 changes nothing.

    The framework does not see that the operator writes: it runs after `after`, which must wait for
    all that reads the weights, and whatever reads them next must wait for `done`.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self):
        super().__init__()
        self.operator = ops.Custom(f"{elementwise_library()}:AdamWStep", (1,), ms.float32, "aot")

    def construct(self, *operands: Tensor) -> Tensor:
        return self.operator(*operands)


class NativeClear(nn.Cell):
    """``construct(bucket, after) -> done [1]``: set a parameter to zeros; see `NativeAdamWStep`.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self):
        super().__init__()
        self.operator = ops.Custom(f"{elementwise_library()}:Clear", (1,), ms.float32, "aot")

    def construct(self, bucket: Tensor, after: Tensor) -> Tensor:
        return self.operator(bucket, after)


class NativeSumOfSquares(nn.Cell):
    """``construct(x) -> [1]``, the same bits for any number of threads.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self):
        super().__init__()
        self.operator = ops.Custom(f"{elementwise_library()}:SumOfSquares", (1,), ms.float32, "aot")

    def construct(self, x: Tensor) -> Tensor:
        return self.operator(x)
