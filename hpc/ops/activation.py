"""The two activations of PreDiff, in the forms that its published weights were trained with."""

import mindspore as ms
from mindspore import Tensor, nn, ops

from hpc.ops.fused import fused_or_none
from hpc.ops.native.elementwise import NativeBiasGelu


class BiasGelu(nn.Cell):
    """Exact GELU of a sum: ``construct(x [..., C], bias [C]) -> gelu(x + bias)``.

    ``gelu(u) = 0.5 u (1 + erf(u / sqrt 2))``; source: Hendrycks & Gimpel 2016. The bias is that of
    the linear layer before, added here to save a pass over memory. Computes in the dtype of x.
    """

    def __init__(self):
        super().__init__()
        self.fused = fused_or_none(NativeBiasGelu)

    def construct(self, x, bias):
        if self.fused is not None and x.dtype == ms.float32:
            return self.fused(x, bias)
        return ops.gelu(x + bias.astype(x.dtype), approximate="none")


def silu(x: Tensor) -> Tensor:
    """Return ``x sigmoid(x)``."""
    return ops.silu(x)
