"""Normalisations over the last axis, on channels-last arrays of any rank.

Both compute and return float32 whatever the input, so that half-precision networks keep their
statistics exact.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hpc.errors import UserError


class GroupNorm(nn.Cell):
    """Group normalisation `[B, ..., C] -> [B, ..., C]`, affine, float32.

    Statistics run over all axes between batch and channel and over the C/groups channels of a
    group. Parameters `weight` and `bias`, `[C]`, start as 1 and 0.
    Source: Wu & He 2018; MODEL.md section 2.3.

    Raises:
        UserError: the channels are not divisible by the groups.
    """

    def __init__(self, groups: int, channels: int, eps: float):
        super().__init__()
        if groups < 1 or channels % groups:
            raise UserError(f"GroupNorm: {channels} channels do not divide into {groups} groups")
        self.groups, self.channels, self.eps = groups, channels, eps
        self.weight = Parameter(Tensor(np.ones(channels, np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(channels, np.float32)), name="bias")

    def construct(self, x):
        x = x.astype(ms.float32)
        first = x.reshape(x.shape[0], -1, self.channels).transpose(0, 2, 1)
        y = ops.group_norm(first, self.groups, self.weight, self.bias, self.eps)
        return y.transpose(0, 2, 1).reshape(x.shape)


class LayerNorm(nn.Cell):
    """Layer normalisation over the last axis, affine, float32; `weight` and `bias` are `[C]`.

    Source: Ba et al. 2016; MODEL.md notation (eps 1e-5).
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.weight = Parameter(Tensor(np.ones(channels, np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(channels, np.float32)), name="bias")
        self.normalize = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=eps)

    def construct(self, x):
        return self.normalize(x.astype(ms.float32), self.weight, self.bias)[0]
