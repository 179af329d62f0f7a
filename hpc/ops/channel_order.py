"""The channel axis from the back of an array to the front, and back again."""

import mindspore as ms
from mindspore import nn

from hpc.ops.fused import fused_or_none
from hpc.ops.native.elementwise import NativeChannelsFirst, NativeChannelsLast


class ChannelsFirst(nn.Cell):
    """`[N, S..., C] -> [N, C, S...]`. The CPU's own transposition keeps 8 bytes an element."""

    def __init__(self):
        super().__init__()
        self.fused = fused_or_none(NativeChannelsFirst)

    def construct(self, x):
        if self.fused is not None and x.dtype == ms.float32:
            return self.fused(x)
        return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


class ChannelsLast(nn.Cell):
    """`[N, C, S...] -> [N, S..., C]`; see `ChannelsFirst`."""

    def __init__(self):
        super().__init__()
        self.fused = fused_or_none(NativeChannelsLast)

    def construct(self, x):
        if self.fused is not None and x.dtype == ms.float32:
            return self.fused(x)
        return x.transpose(0, *range(2, x.ndim), 1)
