"""LayerNorm, GELU, GroupNorm, dropout, bias and channel order as native operators for CPU hosts.

MindSpore's own CPU kernels for these are several times slower than memory allows, and those that
broadcast or transpose keep 16 or 8 bytes an element for as long as their graph lives. Each Cell
here is the operator alone: the parameters belong to the layer that calls it. Channels are the last
axis (C); N is the batch, S any number of axes between. Everything is float32.

Gradients are operators of their own, so the Cells work in graph and in eager mode.
"""

import numpy as np
from mindspore import Tensor, nn, ops

from hpc.ops.native.library import elementwise_library


def _same_as_first(first, *_):
    return first


def native_operator(name: str, out_shape, out_dtype, bprop=None) -> ops.Custom:
    """Return an operator of the native library; raises LibraryUnavailable."""
    return ops.Custom(f"{elementwise_library()}:{name}", out_shape, out_dtype, "aot", bprop=bprop)


def _norm_gradient_shape(x, gamma, *_):
    return x, gamma, gamma


def _norm_gradient_dtype(x, gamma, *_):
    return x, gamma, gamma


class NativeLayerNorm(nn.Cell):
    """Normalise over the last axis: ``construct(x [..., C], gamma [C], beta [C]) -> [..., C]``.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self, *, epsilon: float = 1e-5):
        super().__init__()
        self.epsilon = Tensor(np.array([epsilon], np.float32))
        gradient = native_operator("LayerNormGrad", _norm_gradient_shape, _norm_gradient_dtype)

        def bprop(x, gamma, beta, epsilon, out, dout):
            dx, dgamma, dbeta = gradient(x, gamma, epsilon, dout)
            return dx, dgamma, dbeta, ops.zeros_like(epsilon)

        self.forward_operator = native_operator("LayerNorm", _same_as_first, _same_as_first, bprop)

    def construct(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return self.forward_operator(x, gamma, beta, self.epsilon)


class NativeAddBias(nn.Cell):
    """``construct(x [N, S..., C], bias [C] or [N, C]) -> x + bias``, of each channel (and sample).

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self):
        super().__init__()
        gradient = native_operator("AddBiasGrad", _same_as_first, _same_as_first)

        def bprop(x, bias, out, dout):
            return dout, gradient(bias, dout)

        self.forward_operator = native_operator("AddBias", _same_as_first, _same_as_first, bprop)

    def construct(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.forward_operator(x, bias)


class NativeChannelsFirst(nn.Cell):
    """``construct(x [N, S..., C]) -> [N, C, S...]``.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self):
        super().__init__()
        gradient = native_operator("ChannelsLast", _channels_last_shape, _same_as_first)

        def bprop(x, out, dout):
            return (gradient(dout),)

        self.forward_operator = native_operator(
            "ChannelsFirst", _channels_first_shape, _same_as_first, bprop
        )

    def construct(self, x: Tensor) -> Tensor:
        return self.forward_operator(x)


class NativeChannelsLast(nn.Cell):
    """``construct(x [N, C, S...]) -> [N, S..., C]``.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self):
        super().__init__()
        gradient = native_operator("ChannelsFirst", _channels_first_shape, _same_as_first)

        def bprop(x, out, dout):
            return (gradient(dout),)

        self.forward_operator = native_operator(
            "ChannelsLast", _channels_last_shape, _same_as_first, bprop
        )

    def construct(self, x: Tensor) -> Tensor:
        return self.forward_operator(x)


def _channels_first_shape(x):
    return (x[0], x[-1], *x[1:-1])


def _channels_last_shape(x):
    return (x[0], *x[2:], x[1])


class NativeBiasGelu(nn.Cell):
    """Exact GELU of a sum: ``construct(x [..., C], bias [C]) -> gelu(x + bias)``.

    The bias of the linear layer before it is added here, which saves the layer a pass over memory.
    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self):
        super().__init__()
        gradient = native_operator("BiasGeluGrad", _both, _both)

        def bprop(x, bias, out, dout):
            return gradient(x, bias, dout)

        self.forward_operator = native_operator("BiasGelu", _same_as_first, _same_as_first, bprop)

    def construct(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.forward_operator(x, bias)


def _both(x, bias, *_):
    return x, bias


class NativeGroupNorm(nn.Cell):
    """Group normalisation: ``construct(x [N, S..., C], gamma [C], beta [C]) -> [N, S..., C]``.

    Args:
        groups: number of groups; must divide C.
        epsilon: added to the variance.
        silu: apply ``u * sigmoid(u)`` to the result in the same pass.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self, *, groups: int, epsilon: float, silu: bool = False):
        super().__init__()
        self.groups = Tensor(np.array([groups], np.int32))
        self.epsilon = Tensor(np.array([epsilon], np.float32))
        name = "GroupNormSilu" if silu else "GroupNorm"
        gradient = native_operator(f"{name}Grad", _norm_gradient_shape, _norm_gradient_dtype)

        def bprop(x, gamma, beta, groups, epsilon, out, dout):
            dx, dgamma, dbeta = gradient(x, gamma, beta, groups, epsilon, dout)
            return dx, dgamma, dbeta, ops.zeros_like(groups), ops.zeros_like(epsilon)

        self.forward_operator = native_operator(name, _same_as_first, _same_as_first, bprop)

    def construct(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return self.forward_operator(x, gamma, beta, self.groups, self.epsilon)


class NativeKeyedDropout(nn.Cell):
    """The dropout of hpc/ops/dropout.py: ``construct(x [B,...,C], start [B] int32) -> [B,...,C]``.

    Bit for bit the mask of `KeyedDropout` for ``start = key ^ layer``, made and applied in one
    pass; the gradient makes it again instead of keeping it.

    Args:
        p: probability of dropping, 0 < p < 1.

    Raises LibraryUnavailable at construction where the library cannot be built.
    """

    def __init__(self, *, p: float):
        super().__init__()
        threshold = round(p * 2**32) - 2**31
        self.threshold = Tensor(np.array([threshold], np.int32))
        self.scale = Tensor(np.array([1 / (1 - p)], np.float32))
        gradient = native_operator("KeyedDropout", _same_as_first, _same_as_first)

        def bprop(x, start, threshold, scale, out, dout):
            zeros = ops.zeros_like
            dx = gradient(dout, start, threshold, scale)
            return dx, zeros(start), zeros(threshold), zeros(scale)

        self.forward_operator = native_operator(
            "KeyedDropout", _same_as_first, _same_as_first, bprop
        )

    def construct(self, x: Tensor, start: Tensor) -> Tensor:
        return self.forward_operator(x, start, self.threshold, self.scale)


__all__ = [
    "NativeAddBias",
    "NativeBiasGelu",
    "NativeChannelsFirst",
    "NativeChannelsLast",
    "NativeGroupNorm",
    "NativeKeyedDropout",
    "NativeLayerNorm",
    "native_operator",
]
