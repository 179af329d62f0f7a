"""Affine maps of the last axis.

A layer computes in the dtype of its input; its parameters stay float32.
"""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hpc.errors import UserError
from hpc.ops.bias import AddBias
from hpc.ops.initialization import GeneratorOf, bias_values, weight_values


class Linear(nn.Cell):
    """``y = x W^T + b``: `[..., C_in] -> [..., C_out]`, `weight` `[C_out, C_in]`, `bias` `[C_out]`.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        has_bias: add a learned bias.
        initial: rule of `hpc.ops.initialization` for the starting values.

    Raises:
        UserError: channels below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        has_bias: bool = True,
        initial: str = "fan_in_normal",
    ):
        super().__init__()
        if in_channels < 1 or out_channels < 1:
            raise UserError(f"Linear {in_channels} -> {out_channels}: both must be positive")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.has_bias, self.initial = has_bias, initial
        zeros = np.zeros((out_channels, in_channels), np.float32)
        self.weight = Parameter(Tensor(zeros), name="weight")
        if has_bias:
            self.bias = Parameter(Tensor(np.zeros(out_channels, np.float32)), name="bias")
            self.add_bias = AddBias()
        self.product = ops.MatMul(transpose_b=True)

    def initial_values(self, generator_of: GeneratorOf) -> dict[str, np.ndarray]:
        """Return starting values by the layer's rule."""
        values = {
            "weight": weight_values(
                self.initial,
                shape=self.weight.shape,
                fan_in=self.in_channels,
                generator=generator_of("weight"),
            )
        }
        if self.has_bias:
            values["bias"] = bias_values(
                self.initial,
                shape=self.bias.shape,
                fan_in=self.in_channels,
                generator=generator_of("bias"),
            )
        return values

    def construct(self, x):
        y = self.without_bias(x)
        return self.add_bias(y, self.bias) if self.has_bias else y

    def without_bias(self, x):
        """Return ``x W^T``, for a caller that adds the bias together with something else."""
        y = self.product(x.reshape(-1, self.in_channels), self.weight.astype(x.dtype))
        return y.reshape(*x.shape[:-1], self.out_channels)
