"""Normalisations over the last axis, on channels-last arrays of any rank.

Both compute and return float32 whatever the input, so that half-precision networks keep their
statistics exact. On CPU hosts they are native fused operators where a compiler is found.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hpc.errors import UserError
from hpc.ops.activation import silu
from hpc.ops.fused import fused_or_none
from hpc.ops.native.elementwise import NativeGroupNorm, NativeLayerNorm


class GroupNorm(nn.Cell):
    """Group normalisation `[B, ..., C] -> [B, ..., C]`, affine, float32.

    Statistics run over all axes between batch and channel and over the C/groups channels of a
    group. Parameters `weight` and `bias`, `[C]`, start as 1 and 0.

    Args:
        groups: number of groups; divides C.
        channels: C.
        eps: added to the variance.
        then_silu: apply SiLU to the result, in the same pass where that is possible.

    Raises:
        UserError: the channels are not divisible by the groups.

    Source: Wu & He 2018; MODEL.md section 2.3.
    """

    def __init__(self, groups: int, channels: int, eps: float, *, then_silu: bool = False):
        super().__init__()
        if groups < 1 or channels % groups:
            raise UserError(f"GroupNorm: {channels} channels do not divide into {groups} groups")
        self.groups, self.channels, self.eps = groups, channels, eps
        self.then_silu = then_silu
        self.weight = Parameter(Tensor(np.ones(channels, np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(channels, np.float32)), name="bias")
        self.fused = fused_or_none(
            lambda: NativeGroupNorm(groups=groups, epsilon=eps, silu=then_silu)
        )

    def construct(self, x):
        x = x.astype(ms.float32)
        if self.fused is not None:
            return self.fused(x, self.weight, self.bias)
        first = x.reshape(x.shape[0], -1, self.channels).transpose(0, 2, 1)
        y = ops.group_norm(first, self.groups, self.weight, self.bias, self.eps)
        y = y.transpose(0, 2, 1).reshape(x.shape)
        return silu(y) if self.then_silu else y


class LayerNorm(nn.Cell):
    """Layer normalisation over the last axis, affine, float32; `weight` and `bias` are `[C]`.

    Source: Ba et al. 2016; MODEL.md notation (eps 1e-5).
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.weight = Parameter(Tensor(np.ones(channels, np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(channels, np.float32)), name="bias")
        self.normalize = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=eps)
        self.fused = fused_or_none(lambda: NativeLayerNorm(epsilon=eps))

    def construct(self, x):
        x = x.astype(ms.float32)
        if self.fused is not None:
            return self.fused(x, self.weight, self.bias)
        return self.normalize(x, self.weight, self.bias)[0]
