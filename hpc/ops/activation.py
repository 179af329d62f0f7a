"""The two activations of PreDiff, in the forms that its published weights were trained with."""

from mindspore import Tensor, ops


def gelu(x: Tensor) -> Tensor:
    """Return ``0.5 x (1 + erf(x / sqrt 2))``, the exact form. Source: Hendrycks & Gimpel 2016."""
    return ops.gelu(x, approximate="none")


def silu(x: Tensor) -> Tensor:
    """Return ``x sigmoid(x)``."""
    return ops.silu(x)
