"""A small convolutional U-Net that makes the members of a forecast in one pass each.

Letters: B window, M member, T frame, H, W pixels, C channel, P side of a patch. Frames are VIL /
255 in [0, 1]; layers are channels-last, time is folded into the channels.

What is seen runs once a window through the encoder. Noise multiplies the decoder's features at
every level, so coarse levels draw what varies over wide areas and fine ones what varies from pixel
to pixel, and members differ most where the forecast departs most from the extrapolation. (Noise
that joins the features as further channels had not spread the members after 600 steps.)
The forecast is the extrapolated frames plus a residual whose last layer starts at zero: an
untrained network is the extrapolation. The residual is scaled by the rain around a pixel.
"""

from collections.abc import Sequence
from itertools import pairwise

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from hpc.errors import UserError
from hpc.ops.convolution import Conv2d
from hpc.ops.initialization import initialize
from hpc.ops.normalization import GroupNorm
from prediff.models.autoencoder import NORM_EPSILON, Downsample, ResidualBlock, Upsample

WET = 1.5 / 255
"""From here on a pixel is marked as wet."""
SURROUNDINGS = 9
"""Pixels a side over which the rain is averaged that scales a pixel's residual."""
CALM_SCALE = 0.02
"""Scale of the residual where there is no rain around, VIL / 255."""
GLOBAL_NOISE = 8
"""Numbers that a member draws for the whole frame, beside those of each level."""


def noise_numbers(*, height: int, width: int, patch: int, levels: int, channels: int) -> int:
    """Return how many normal draws a member of a frame of this size needs.

    Raises:
        UserError: the levels do not divide the frame.
    """
    step = patch * 2 ** (levels - 1)
    if height % step or width % step:
        raise UserError(f"frames of {height}x{width} are no multiple of {step} pixels a side")
    cells = sum(
        (height // (patch << level)) * (width // (patch << level)) for level in range(levels)
    )
    return cells * channels + GLOBAL_NOISE


class OnePassUNet(nn.Cell):
    """``construct(context, extrapolation, minutes, noise) -> members [B, M, T, H, W]``.

    Fully convolutional: one set of weights serves every frame size that is a multiple of
    ``patch * 2 ** (levels - 1)``.

    Args:
        context_frames: frames that are seen.
        forecast_frames: T.
        patch: side of the pixel blocks that become the channels of the first level.
        widths: channels of each level, from fine to coarse.
        blocks: residual blocks of a level on the way down, and again on the way up.
        noise_channels: noise channels of each level.
        norm_groups: groups of the normalisations.
        seed: of the starting weights.

    Raises:
        UserError: widths that do not divide into the groups.
    """

    def __init__(
        self,
        *,
        context_frames: int,
        forecast_frames: int,
        patch: int = 2,
        widths: Sequence[int] = (40, 80, 128),
        blocks: int = 1,
        noise_channels: int = 8,
        norm_groups: int = 8,
        seed: int = 0,
    ):
        super().__init__()
        self.context_frames, self.forecast_frames = context_frames, forecast_frames
        self.patch, self.widths, self.noise_channels = patch, tuple(widths), noise_channels
        if any(width % norm_groups for width in widths):
            raise UserError(f"widths {tuple(widths)} do not all divide into {norm_groups} groups")
        views = views_of(context_frames, forecast_frames)
        self.entry = Conv2d(views * patch * patch, widths[0], 1)
        self.down = nn.CellList([_level(width, blocks, norm_groups) for width in widths])
        self.shrink = nn.CellList([Downsample(width) for width in widths[:-1]])
        self.widen = nn.CellList([Conv2d(a, b, 1) for a, b in pairwise(widths)])
        self.mix = nn.CellList(
            [Conv2d(coarse + fine, fine, 1) for fine, coarse in pairwise(widths)]
        )
        inputs = [noise_channels] * (len(widths) - 1) + [noise_channels + GLOBAL_NOISE]
        self.modulate = nn.CellList(
            [
                Conv2d(count, width, 1, initial="fan_in_normal")
                for count, width in zip(inputs, widths, strict=True)
            ]
        )
        self.up = nn.CellList([_level(width, blocks, norm_groups) for width in widths])
        self.grow = nn.CellList([Upsample(width) for width in widths[1:]])
        self.norm = GroupNorm(norm_groups, widths[0], NORM_EPSILON, then_silu=True)
        self.exit = Conv2d(widths[0], forecast_frames * patch * patch, 3, initial="zeros")
        self.join = ops.Concat(-1)
        self.around = nn.AvgPool2d(SURROUNDINGS, stride=1, pad_mode="same")
        initialize(self, seed=seed)

    def noise_numbers(self, *, height: int, width: int) -> int:
        """Return how many normal draws a member of a frame of this size needs."""
        return noise_numbers(
            height=height,
            width=width,
            patch=self.patch,
            levels=len(self.widths),
            channels=self.noise_channels,
        )

    def noise_factors(self, levels: Sequence[float], *, height: int, width: int) -> np.ndarray:
        """Return a factor for each draw of a member, float32 ``[noise_numbers]``.

        Args:
            levels: the factor of each level, fine to coarse; empty is 1. The draws of the whole
                frame keep theirs.

        Raises:
            UserError: not as many factors as levels.
        """
        if not levels:
            levels = [1.0] * len(self.widths)
        if len(levels) != len(self.widths):
            raise UserError(
                f"one_pass.forecast_noise has {len(levels)} factors, the network "
                f"{len(self.widths)} levels"
            )
        parts = [np.ones(GLOBAL_NOISE, np.float32)]
        for level in reversed(range(len(self.widths))):
            side = self.patch << level
            count = (height // side) * (width // side) * self.noise_channels
            parts.append(np.full(count, levels[level], np.float32))
        return np.concatenate(parts)

    def construct(self, context, extrapolation, minutes, noise):
        """Return the members, not clipped.

        Args:
            context: what is seen, ``[B, T_in, H, W]``.
            extrapolation: ``[B, T, H, W]``, negative where what comes from outside is not known.
            minutes: between frames, float32 ``[B]``.
            noise: unit normals ``[B, M, noise_numbers]``.
        """
        batch, members = noise.shape[0], noise.shape[1]
        height, width = context.shape[2], context.shape[3]
        base = ops.relu(extrapolation)
        seen = self.encode(context, extrapolation, base, minutes)
        draws = noise.reshape(batch * members, -1)
        residual = self.decode(seen, draws, members)
        residual = _depth_to_space(residual, self.patch, self.forecast_frames)
        residual = residual.reshape(batch, members, self.forecast_frames, height, width)
        scale = CALM_SCALE + self.around(ops.maximum(base, context[:, -1:]))
        return base.expand_dims(1) + scale.expand_dims(1) * residual

    def encode(self, context, extrapolation, base, minutes):
        """Return the features of each level, fine to coarse, of what is seen."""
        frames = ops.concat((context, base), 1)
        wet = ops.cast(frames > WET, ms.float32)
        unknown = ops.cast(extrapolation < 0, ms.float32)
        cadence = ops.broadcast_to(
            (minutes / 10.0).reshape(-1, 1, 1, 1), (context.shape[0], 1, *context.shape[2:])
        )
        views = ops.concat((frames, ops.sqrt(frames + 1e-4), wet, unknown, cadence), 1)
        x = self.entry(_space_to_depth(views, self.patch))
        found = ()
        for level in range(len(self.widths)):
            for block in self.down[level]:
                x = block(x)
            found = (*found, x)
            if level < len(self.widths) - 1:
                x = self.widen[level](self.shrink[level](x))
        return found

    def decode(self, seen, draws, members):
        """Return ``[B M, H/P, W/P, T P P]`` of the features and every member's draws."""
        coarsest = len(self.widths) - 1
        whole, start = draws[:, :GLOBAL_NOISE], GLOBAL_NOISE
        x = None
        for step in range(len(self.widths)):
            level = coarsest - step
            feature = _repeat(seen[level], members)
            rows, height, width = feature.shape[0], feature.shape[1], feature.shape[2]
            count = height * width * self.noise_channels
            noise = draws[:, start : start + count].reshape(rows, height, width, -1)
            start = start + count
            if step == 0:
                same = whole.reshape(rows, 1, 1, GLOBAL_NOISE)
                same = ops.broadcast_to(same, (rows, height, width, GLOBAL_NOISE))
                x, noise = feature, self.join((noise, same))
            else:
                x = self.mix[level](self.join((self.grow[level](x), feature)))
            x = x * (1.0 + self.modulate[level](noise))
            for block in self.up[level]:
                x = block(x)
        return self.exit(self.norm(x))


def views_of(context_frames: int, forecast_frames: int) -> int:
    """Return the pictures that enter: frames, roots and wet masks, unknown pixels, the cadence."""
    return 3 * (context_frames + forecast_frames) + forecast_frames + 1


def _level(width: int, blocks: int, norm_groups: int) -> nn.CellList:
    return nn.CellList([ResidualBlock(width, width, norm_groups) for _ in range(blocks)])


def _repeat(x, members):
    batch, height, width, channels = x.shape
    x = ops.broadcast_to(x.expand_dims(1), (batch, members, height, width, channels))
    return x.reshape(batch * members, height, width, channels)


def _space_to_depth(frames, patch):
    """Return ``[B, H/P, W/P, T P P]`` of frames ``[B, T, H, W]``."""
    batch, time, height, width = frames.shape
    x = frames.reshape(batch, time, height // patch, patch, width // patch, patch)
    x = x.transpose(0, 2, 4, 1, 3, 5)
    return x.reshape(batch, height // patch, width // patch, time * patch * patch)


def _depth_to_space(x, patch, time):
    """Return frames ``[B, T, H, W]`` of ``[B, H/P, W/P, T P P]``."""
    batch, height, width = x.shape[0], x.shape[1], x.shape[2]
    x = x.reshape(batch, height, width, time, patch, patch).transpose(0, 3, 1, 4, 2, 5)
    return x.reshape(batch, time, height * patch, width * patch)
