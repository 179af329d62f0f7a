"""Convolutions on channels-last arrays, lowered to what is fast on the device.

Shapes: N frames, B batch, T time, H height, W width, C channel, K kernel side.

Parameters always have the layout of the reference, `[C_out, C_in, *kernel]`, so a checkpoint does
not depend on the lowering. Two lowerings compute the same:

``native``   transposes around the framework's convolution. The choice on Ascend, and on CPU with
             MindSpore 2.8, whose oneDNN multiplies through a packed matrix product.
``columns``  the kernel's taps along the minor axes concatenated on the channel axis, then one
             matrix product for each tap of the major axis. The choice on CPU from MindSpore 2.9 on,
             where plain-layout convolutions fall back to oneDNN's reference loop, a hundred times
             slower.

A 1x1 convolution is a matrix product everywhere. A layer computes in the dtype of its input.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hpc.errors import UserError
from hpc.ops.bias import AddBias
from hpc.ops.channel_order import ChannelsFirst, ChannelsLast
from hpc.ops.initialization import GeneratorOf, bias_values, weight_values
from hpc.ops.padding import pad_with_zeros

Padding4 = tuple[int, int, int, int]


def convolution_lowering() -> str:
    """Return the lowering, ``native`` or ``columns``, that is faster on this device and version."""
    if ms.get_context("device_target") != "CPU":
        return "native"
    major, minor = (int(part) for part in ms.__version__.split(".")[:2])
    return "native" if (major, minor) < (2, 9) else "columns"


class _Convolution(nn.Cell):
    """What both ranks share: the parameters, their starting values, and the 1x1 case."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, ...],
        *,
        has_bias: bool,
        initial: str,
        lowering: str | None,
    ):
        super().__init__()
        if in_channels < 1 or out_channels < 1:
            raise UserError(
                f"convolution {in_channels} -> {out_channels} channels: both must be positive"
            )
        self.in_channels, self.out_channels, self.kernel = in_channels, out_channels, kernel
        self.initial = initial
        self.lowering = convolution_lowering() if lowering is None else lowering
        shape = (out_channels, in_channels, *kernel)
        self.weight = Parameter(Tensor(np.zeros(shape, np.float32)), name="weight")
        self.has_bias = has_bias
        if has_bias:
            self.bias = Parameter(Tensor(np.zeros(out_channels, np.float32)), name="bias")
            self.add_bias = AddBias()
        self.product = ops.MatMul()
        self.product_transposed = ops.MatMul(transpose_b=True)
        self.join = ops.Concat(-1)
        self.channels_first, self.channels_last = ChannelsFirst(), ChannelsLast()

    def initial_values(self, generator_of: GeneratorOf) -> dict[str, np.ndarray]:
        """Return starting values by the layer's rule; fan_in counts the kernel's volume."""
        fan_in = self.in_channels * int(np.prod(self.kernel))
        values = {
            "weight": weight_values(
                self.initial,
                shape=self.weight.shape,
                fan_in=fan_in,
                generator=generator_of("weight"),
            )
        }
        if self.has_bias:
            values["bias"] = bias_values(
                self.initial, shape=self.bias.shape, fan_in=fan_in, generator=generator_of("bias")
            )
        return values

    @staticmethod
    def reference_to_parameter(array: np.ndarray) -> np.ndarray:
        """Return our `weight` of the reference's `[C_out, C_in, *kernel]` weight (the same)."""
        return array

    @staticmethod
    def parameter_to_reference(array: np.ndarray) -> np.ndarray:
        """Return the reference's weight of our `weight` (the same layout)."""
        return array

    def _pointwise(self, x, weight):
        rows = x.reshape(-1, self.in_channels)
        matrix = weight.reshape(self.out_channels, self.in_channels)
        return self.product_transposed(rows, matrix).reshape(*x.shape[:-1], self.out_channels)

    def _with_bias(self, y):
        return self.add_bias(y, self.bias) if self.has_bias else y


class Conv2d(_Convolution):
    """2-D convolution `[N,H,W,C_in] -> [N,H',W',C_out]`.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: side of the square kernel.
        stride: step along H and W.
        padding: ``"same"`` (zeros, (kernel-1)/2 on each side, odd kernels) or the four numbers of
            zero rows and columns (top, bottom, left, right).
        has_bias: add a learned bias.
        initial: rule of `hpc.ops.initialization` for the starting values.
        lowering: ``native`` or ``columns``; by default the faster one here.

    Raises:
        UserError: ``"same"`` with an even kernel, or channels below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: str | Padding4 = "same",
        has_bias: bool = True,
        initial: str = "uniform",
        lowering: str | None = None,
    ):
        super().__init__(
            in_channels,
            out_channels,
            (kernel_size, kernel_size),
            has_bias=has_bias,
            initial=initial,
            lowering=lowering,
        )
        if padding == "same":
            if kernel_size % 2 == 0:
                raise UserError(
                    f"padding 'same' needs an odd kernel, not {kernel_size}: give four numbers"
                )
            padding = (kernel_size // 2,) * 4
        assert len(padding) == 4, padding
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.pointwise = kernel_size == 1 and stride == 1 and padding == (0, 0, 0, 0)
        self.native = ops.Conv2D(
            out_channels, kernel_size, pad_mode="pad", pad=padding, stride=stride
        )

    def construct(self, x):
        weight = self.weight.astype(x.dtype)
        if self.pointwise:
            y = self._pointwise(x, weight)
        elif self.lowering == "native":
            y = self.channels_last(self.native(self.channels_first(x), weight))
        else:
            y = self._columns(x, weight)
        return self._with_bias(y)

    def _columns(self, x, weight):
        frames, height, width, _ = x.shape
        k, s = self.kernel_size, self.stride
        top, bottom, left, right = self.padding
        out_h = (height + top + bottom - k) // s + 1
        out_w = (width + left + right - k) // s + 1
        # Rows and columns become (block, phase), so that a strided tap is a plain slice of blocks.
        blocks_h, blocks_w = out_h + (k - 1) // s, out_w + (k - 1) // s
        below = max(0, blocks_h * s - height - top)
        beside = max(0, blocks_w * s - width - left)
        grown = pad_with_zeros(x, ((0, 0), (top, below), (left, beside), (0, 0)))
        grown = grown[:, : blocks_h * s, : blocks_w * s]
        blocks = grown.reshape(frames, blocks_h, s, blocks_w, s, self.in_channels)
        taps = ()
        for j in range(k):
            taps = (*taps, blocks[:, :, :, j // s : j // s + out_w, j % s])
        columns = self.join(taps)  # [N, blocks_h, s, W', K*C]
        kernel = weight.transpose(2, 3, 1, 0).reshape(k, k * self.in_channels, self.out_channels)
        total = 0
        for i in range(k):
            rows = columns[:, i // s : i // s + out_h, i % s].reshape(-1, k * self.in_channels)
            total = total + self.product(rows, kernel[i])
        return total.reshape(frames, out_h, out_w, self.out_channels)


class Conv3d(_Convolution):
    """3-D convolution `[B,T,H,W,C_in] -> [B,T,H,W,C_out]`, stride 1, zero padding to the same size.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: odd side of the cubic kernel (3 or 1 in PreDiff).
        has_bias: add a learned bias.
        initial: rule of `hpc.ops.initialization` for the starting values.
        lowering: ``native`` or ``columns``; by default the faster one here.

    Raises:
        UserError: an even kernel, or channels below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        has_bias: bool = True,
        initial: str = "uniform",
        lowering: str | None = None,
    ):
        super().__init__(
            in_channels,
            out_channels,
            (kernel_size,) * 3,
            has_bias=has_bias,
            initial=initial,
            lowering=lowering,
        )
        if kernel_size % 2 == 0:
            raise UserError(f"Conv3d keeps the size and so needs an odd kernel, not {kernel_size}")
        self.kernel_size = kernel_size
        self.native = ops.Conv3D(
            out_channels, kernel_size, pad_mode="pad", pad=(kernel_size // 2,) * 6
        )

    def construct(self, x):
        weight = self.weight.astype(x.dtype)
        if self.kernel_size == 1:
            y = self._pointwise(x, weight)
        elif self.lowering == "native":
            y = self.channels_last(self.native(self.channels_first(x), weight))
        else:
            y = self._columns(x, weight)
        return self._with_bias(y)

    def _columns(self, x, weight):
        batch, time, height, width, _ = x.shape
        k = self.kernel_size
        margin = k // 2
        around = (margin, margin)
        grown = pad_with_zeros(x, ((0, 0), around, around, around, (0, 0)))
        taps = ()
        for j in range(k):
            taps = (*taps, grown[:, :, :, j : j + width])
        columns = self.join(taps)
        taps = ()
        for i in range(k):
            taps = (*taps, columns[:, :, i : i + height])
        columns = self.join(taps)  # [B, T+K-1, H, W, K*K*C], tap order (h, w)
        depth = k * k * self.in_channels
        kernel = weight.transpose(2, 3, 4, 1, 0).reshape(k, depth, self.out_channels)
        total = 0
        for t in range(k):
            rows = columns[:, t : t + time].reshape(-1, depth)
            total = total + self.product(rows, kernel[t])
        return total.reshape(batch, time, height, width, self.out_channels)
