"""The frame-wise variational autoencoder that makes PreDiff's latent space.

Shapes: N frames, H height, W width, C channel; a latent frame is `[N, H/r, W/r, C_latent]` with
r = 2**(len(widths) - 1). Layers are channels-last.
Source: Gao et al. 2023, section 3.1; MODEL.md section 3 (an "AutoencoderKL" of latent diffusion).
"""

from collections.abc import Sequence
from itertools import pairwise

import mindspore as ms
from mindspore import nn, ops

from hpc.errors import UserError
from hpc.ops.convolution import Conv2d
from hpc.ops.initialization import initialize
from hpc.ops.linear import Linear
from hpc.ops.normalization import GroupNorm

NORM_EPSILON = 1e-6
LOG_VARIANCE_RANGE = (-30.0, 20.0)


class ResidualBlock(nn.Cell):
    """`[N,H,W,C] -> [N,H,W,C']`: twice norm, SiLU and 3x3 convolution, plus the input.

    The input passes a 1x1 convolution where the channels change.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_groups: int):
        super().__init__()
        self.norm1 = GroupNorm(norm_groups, in_channels, NORM_EPSILON, then_silu=True)
        self.conv1 = Conv2d(in_channels, out_channels, 3)
        self.norm2 = GroupNorm(norm_groups, out_channels, NORM_EPSILON, then_silu=True)
        self.conv2 = Conv2d(out_channels, out_channels, 3)
        if in_channels == out_channels:
            self.shortcut = nn.Identity()
        else:
            self.shortcut = Conv2d(in_channels, out_channels, 1)

    def construct(self, x):
        y = self.conv1(self.norm1(x))
        y = self.conv2(self.norm2(y))
        return self.shortcut(x) + y


class FrameAttention(nn.Cell):
    """Single-head attention among a frame's pixels, `[N,H,W,C] -> [N,H,W,C]`, plus the input."""

    def __init__(self, channels: int, norm_groups: int):
        super().__init__()
        self.channels = channels
        self.norm = GroupNorm(norm_groups, channels, NORM_EPSILON)
        self.query = Linear(channels, channels, initial="uniform")
        self.key = Linear(channels, channels, initial="uniform")
        self.value = Linear(channels, channels, initial="uniform")
        self.out = Linear(channels, channels, initial="uniform")
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.mix = ops.BatchMatMul()
        self.softmax = ops.Softmax(-1)

    def construct(self, x):
        n, h, w, c = x.shape
        y = self.norm(x)
        query = self.query(y).reshape(n, h * w, c) * self.channels**-0.5
        key = self.key(y).reshape(n, h * w, c)
        value = self.value(y).reshape(n, h * w, c)
        weights = self.softmax(self.scores(query, key))
        return x + self.out(self.mix(weights, value).reshape(n, h, w, c))


class Middle(nn.Cell):
    """Residual block, attention, residual block at constant width."""

    def __init__(self, channels: int, norm_groups: int):
        super().__init__()
        self.residual1 = ResidualBlock(channels, channels, norm_groups)
        self.attention = FrameAttention(channels, norm_groups)
        self.residual2 = ResidualBlock(channels, channels, norm_groups)

    def construct(self, x):
        return self.residual2(self.attention(self.residual1(x)))


class Upsample(nn.Cell):
    """Nearest-neighbour doubling of H and W, then a 3x3 convolution of the same width."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = Conv2d(channels, channels, 3)

    def construct(self, x):
        n, h, w, c = x.shape
        doubled = ops.broadcast_to(x.reshape(n, h, 1, w, 1, c), (n, h, 2, w, 2, c))
        return self.conv(doubled.reshape(n, 2 * h, 2 * w, c))


class Downsample(nn.Cell):
    """Halving of H and W by a 3x3 convolution of stride 2.

    The zero padding is one row at the bottom and one column at the right only.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, stride=2, padding=(0, 1, 0, 1))

    def construct(self, x):
        return self.conv(x)


class Block(nn.Cell):
    """Residual blocks of one width, then a change of resolution (or none)."""

    def __init__(
        self, in_channels: int, out_channels: int, layers: int, norm_groups: int, resample: nn.Cell
    ):
        super().__init__()
        widths = [in_channels] + layers * [out_channels]
        self.residuals = nn.CellList(
            [ResidualBlock(before, after, norm_groups) for before, after in pairwise(widths)]
        )
        self.resample = resample

    def construct(self, x):
        for residual in self.residuals:
            x = residual(x)
        return self.resample(x)


class Encoder(nn.Cell):
    """Frames `[N,H,W,C]` to the posterior's mean and log variance, `[N,H/r,W/r,C_latent]` each."""

    def __init__(
        self,
        frame_channels: int,
        latent_channels: int,
        widths: Sequence[int],
        layers_per_block: int,
        norm_groups: int,
    ):
        super().__init__()
        self.latent_channels = latent_channels
        self.conv_in = Conv2d(frame_channels, widths[0], 3)
        blocks = []
        for i, width in enumerate(widths):
            resample = Downsample(width) if i < len(widths) - 1 else nn.Identity()
            before = widths[max(i - 1, 0)]
            blocks.append(Block(before, width, layers_per_block, norm_groups, resample))
        self.blocks = nn.CellList(blocks)
        self.middle = Middle(widths[-1], norm_groups)
        self.norm_out = GroupNorm(norm_groups, widths[-1], NORM_EPSILON, then_silu=True)
        self.conv_out = Conv2d(widths[-1], 2 * latent_channels, 3)
        self.moments = Conv2d(2 * latent_channels, 2 * latent_channels, 1)

    def construct(self, frames):
        x = self.conv_in(frames)
        for block in self.blocks:
            x = block(x)
        x = self.conv_out(self.norm_out(self.middle(x)))
        moments = self.moments(x)
        mean = moments[..., : self.latent_channels]
        logvar = ops.clamp(moments[..., self.latent_channels :], *LOG_VARIANCE_RANGE)
        return mean, logvar


class Decoder(nn.Cell):
    """Latents `[N,H/r,W/r,C_latent]` to frames `[N,H,W,C]`; no output activation."""

    def __init__(
        self,
        frame_channels: int,
        latent_channels: int,
        widths: Sequence[int],
        layers_per_block: int,
        norm_groups: int,
    ):
        super().__init__()
        self.latent_in = Conv2d(latent_channels, latent_channels, 1)
        self.conv_in = Conv2d(latent_channels, widths[-1], 3)
        self.middle = Middle(widths[-1], norm_groups)
        blocks = []
        descending = list(reversed(widths))
        for i, width in enumerate(descending):
            resample = Upsample(width) if i < len(widths) - 1 else nn.Identity()
            before = descending[max(i - 1, 0)]
            blocks.append(Block(before, width, layers_per_block + 1, norm_groups, resample))
        self.blocks = nn.CellList(blocks)
        self.norm_out = GroupNorm(norm_groups, widths[0], NORM_EPSILON, then_silu=True)
        self.conv_out = Conv2d(widths[0], frame_channels, 3)

    def features(self, latents):
        """Return `[N,H,W,widths[0]]`, what the last convolution `conv_out` reads."""
        x = self.middle(self.conv_in(self.latent_in(latents)))
        for block in self.blocks:
            x = block(x)
        return self.norm_out(x)

    def construct(self, latents):
        return self.conv_out(self.features(latents))


class Autoencoder(nn.Cell):
    """The VAE: `encode` and `decode` single frames; `construct` does both with a posterior sample.

    Args:
        frame_channels: C of a frame (1: VIL).
        latent_channels: C of a latent frame.
        widths: channels of each block; every block but the last halves H and W.
        layers_per_block: residual blocks an encoder block has; a decoder block has one more.
        norm_groups: groups of every group normalisation.
        seed: of the starting weights, which are the same on every rank.

    Raises:
        UserError: a width that the groups do not divide.
    """

    def __init__(
        self,
        *,
        latent_channels: int,
        widths: Sequence[int],
        frame_channels: int = 1,
        layers_per_block: int = 2,
        norm_groups: int = 32,
        seed: int = 0,
    ):
        super().__init__()
        for width in widths:
            if width % norm_groups:
                raise UserError(
                    f"autoencoder width {width} is not a multiple of its {norm_groups} norm groups"
                )
        self.frame_channels, self.latent_channels = frame_channels, latent_channels
        self.reduction = 2 ** (len(widths) - 1)
        sizes = (frame_channels, latent_channels, tuple(widths), layers_per_block, norm_groups)
        self.encoder = Encoder(*sizes)
        self.decoder = Decoder(*sizes)
        initialize(self, seed=seed)

    def encode(self, frames: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Return the posterior's mean and log variance, clamped to [-30, 20].

        Args:
            frames: `[N,H,W,C]` in [0, 1], H and W multiples of `reduction`.
        """
        return self.encoder(frames)

    def decode(self, latents: ms.Tensor) -> ms.Tensor:
        """Return frames `[N,H,W,C]`, not clipped to [0, 1], of latents `[N,H/r,W/r,C_latent]`."""
        return self.decoder(latents)

    def construct(self, frames, noise):
        """Return (reconstruction, mean, log variance) for standard normal noise shaped as mean."""
        mean, logvar = self.encoder(frames)
        latents = mean + ops.exp(0.5 * logvar) * noise
        return self.decoder(latents), mean, logvar
