"""Dropout whose mask is a function of (sample key, layer, element) and of nothing else.

The masks of a sample are the same on every rank, in every batch it may be part of, and when a
block is computed again in the backward pass. They are made inside the graph with 32-bit integer
arithmetic that wraps, which CPU and Ascend share.

Shapes: B samples; an element of a sample is (row r, column j), the column being the last axis.
"""

from zlib import crc32

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hpc.errors import UserError
from hpc.ops.fused import fused_or_none
from hpc.ops.native.elementwise import NativeKeyedDropout

_STEP = 0x9E3779B9  # 2**32 / golden ratio: successive multiples are spread evenly
_MIX_1, _MIX_2 = 0x7FEB352D, 0x846CA68B  # Wellons 2018, "lowbias32"


def _signed(value: int) -> int:
    """Return the int32 with the low 32 bits of `value`."""
    return (value + 2**31) % 2**32 - 2**31


def mix(x: Tensor) -> Tensor:
    """Return a well mixed int32 of each int32, after Wellons' lowbias32 (with signed shifts)."""
    x = ops.bitwise_xor(x, ops.bitwise_right_shift(x, 16)) * _signed(_MIX_1)
    return ops.bitwise_xor(x, ops.bitwise_right_shift(x, 15)) * _signed(_MIX_2)


class KeyedDropout(nn.Cell):
    """Dropout by keys: ``construct(x [B,...,C], key [B] int32 or None) -> [B,...,C]``.

    In training and with a key, each element is kept with probability 1-p and scaled by 1/(1-p);
    else, or with p = 0, x passes unchanged.

    The hash: every row and every column of a sample gets a well mixed 32-bit number from (key,
    layer, its own number); the product of the two, the row's made odd, decides. So rows and
    columns are mixed, but an element costs one multiplication.

    Args:
        p: probability of dropping, 0 <= p < 1.

    Raises:
        UserError: p outside [0, 1).

    `layer` tells apart the layers of a network; `name_dropout_layers` sets it.
    """

    def __init__(self, p: float):
        super().__init__()
        if not 0 <= p < 1:
            raise UserError(f"dropout probability {p} must be at least 0 and below 1")
        self.p = p
        self.keep_scale = 1 / (1 - p)
        # A uniform int32 lies below this with probability p.
        self.threshold = _signed(round(p * 2**32) - 2**31)
        self.layer = 0
        self.fused = fused_or_none(lambda: NativeKeyedDropout(p=p)) if p > 0 else None

    def construct(self, x, key):
        if self.p == 0 or key is None or not self.training:
            return x
        if self.fused is not None and x.dtype == ms.float32:
            return self.fused(x, ops.bitwise_xor(key, self.layer))
        return x * self._factor_by_operations(key, x.shape[1:]).astype(x.dtype)

    def factor(self, key, shape):
        """Return float32 `[B, *shape]`, 0 or 1/(1-p), or None where nothing is dropped."""
        if self.p == 0 or key is None or not self.training:
            return None
        if self.fused is not None:
            ones = ops.ones((key.shape[0], *shape), ms.float32)
            return self.fused(ones, ops.bitwise_xor(key, self.layer))
        return self._factor_by_operations(key, shape)

    def _factor_by_operations(self, key, shape):
        columns = shape[-1]
        rows = 1
        for size in shape[:-1]:
            rows = rows * size
        start = ops.bitwise_xor(key, self.layer).reshape(-1, 1)
        mixed = mix(start + _multiples(rows + columns))
        row, column = ops.split(mixed, (rows, columns), 1)
        bits = ops.bitwise_or(row, 1).expand_dims(2) * column.expand_dims(1)
        kept = (bits >= self.threshold).astype(ms.float32) * self.keep_scale
        return kept.reshape(key.shape[0], *shape)


def name_dropout_layers(network: nn.Cell) -> None:
    """Give every KeyedDropout under `network` the number of its name, so that masks differ."""
    for name, cell in network.cells_and_names():
        if isinstance(cell, KeyedDropout):
            cell.layer = _signed(crc32(name.encode()))


@ops.constexpr
def _multiples(count):
    """Return 1 to `count` times the step, wrapped to int32."""
    values = np.arange(1, count + 1, dtype=np.uint64) * _STEP % 2**32
    return Tensor(values.astype(np.uint32).view(np.int32))
