"""The patch discriminator that judges the autoencoder's reconstructions.

Shapes: N frames, H height, W width, C channel; a patch map is `[N, H', W', 1]`, each number judging
the 70x70 pixels around it. Layers are channels-last.
Source: Isola et al. 2017 (pix2pix), section 3.2; MODEL.md section 3.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops

from hpc.ops.convolution import Conv2d
from hpc.ops.initialization import GeneratorOf, initialize

_STARTING_SPREAD = 0.02  # of weights, by Isola et al. 2017, section 6.2
_SLOPE = 0.2
_PADDING = (1, 1, 1, 1)


class PatchConvolution(Conv2d):
    """4x4 convolution, padding 1, with starting weights N(0, 0.02^2)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, has_bias: bool):
        super().__init__(
            in_channels, out_channels, 4, stride=stride, padding=_PADDING, has_bias=has_bias
        )

    def initial_values(self, generator_of: GeneratorOf) -> dict[str, np.ndarray]:
        values = super().initial_values(generator_of)
        normal = generator_of("weight").standard_normal(self.weight.shape, dtype=np.float32)
        return {**values, "weight": _STARTING_SPREAD * normal}


class RankMean(nn.Cell):
    """Mean of a tensor over the `size` ranks of a communication group, differentiable.

    Each rank's gradient is the mean of all ranks' gradients, so that gradients that are averaged
    over the ranks afterwards are those of the mean of the ranks' losses.
    """

    def __init__(self, *, group: str, size: int):
        super().__init__()
        self.share = 1.0 / size
        self.sum = ops.AllReduce(ops.ReduceOp.SUM, group)

    def construct(self, x):
        return self.sum(x) * self.share


class BatchNorm(nn.Cell):
    """Batch normalisation `[N,H,W,C] -> [N,H,W,C]` by the statistics of the present batch, affine.

    There are no running statistics: the discriminator is used in training only.

    Args:
        channels: C.
        reduce_mean: averages a tensor over the data-parallel ranks (`RankMean`), so that the batch
            is the global one; None on a single rank.
        eps: added to the variance.
    """

    def __init__(self, channels: int, *, reduce_mean: nn.Cell | None = None, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.reduce_mean = nn.Identity() if reduce_mean is None else reduce_mean
        self.weight = Parameter(ms.Tensor(np.ones(channels, np.float32)), name="weight")
        self.bias = Parameter(ms.Tensor(np.zeros(channels, np.float32)), name="bias")

    def initial_values(self, generator_of: GeneratorOf) -> dict[str, np.ndarray]:
        normal = generator_of("weight").standard_normal(self.weight.shape, dtype=np.float32)
        return {"weight": 1 + _STARTING_SPREAD * normal}

    def construct(self, x):
        own = ops.stack((x.mean((0, 1, 2)), (x * x).mean((0, 1, 2))))
        moments = self.reduce_mean(own)
        mean = moments[0]
        variance = ops.relu(moments[1] - mean * mean)
        scale = self.weight * ops.rsqrt(variance + self.eps)
        return x * scale + (self.bias - mean * scale)


class PatchDiscriminator(nn.Cell):
    """Frames `[N,H,W,C]` to unbounded scores of their patches `[N,H',W',1]`; high means real.

    Args:
        frame_channels: C.
        base_width: channels of the first layer; the others have 2, 4 and 8 times as many.
        reduce_mean: see `BatchNorm`.
        seed: of the starting weights, which are the same on every rank.
    """

    def __init__(
        self,
        *,
        frame_channels: int = 1,
        base_width: int = 64,
        reduce_mean: nn.Cell | None = None,
        seed: int = 0,
    ):
        super().__init__()
        width = base_width
        self.conv_in = PatchConvolution(frame_channels, width, stride=2, has_bias=True)
        convs, norms = [], []
        for stride in (2, 2, 1):
            convs.append(PatchConvolution(width, 2 * width, stride=stride, has_bias=False))
            norms.append(BatchNorm(2 * width, reduce_mean=reduce_mean))
            width *= 2
        self.convs = nn.CellList(convs)
        self.norms = nn.CellList(norms)
        self.conv_out = PatchConvolution(width, 1, stride=1, has_bias=True)
        self.leaky_relu = nn.LeakyReLU(_SLOPE)
        initialize(self, seed=seed)

    def construct(self, frames):
        x = self.leaky_relu(self.conv_in(frames))
        for conv, norm in zip(self.convs, self.norms):  # noqa: B905  graph mode knows no strict=
            x = self.leaky_relu(norm(conv(x)))
        return self.conv_out(x)
