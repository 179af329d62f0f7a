"""Named ways to cover a (T, H, W) grid by a few cuboid-attention sub-layers.

Source: Gao et al. 2022 (Earthformer), section 3.1 and appendix; the shapes are those of the
published configurations.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from hpc.errors import UserError
from hpc.ops.cuboid_attention.geometry import Axes

LOCAL, DILATED = ("l", "l", "l"), ("d", "d", "d")


class AttentionPattern(NamedTuple):
    """The cuboids of a stack, one entry a sub-layer in each of the three lists."""

    cuboid_sizes: list[Axes]
    strategies: list[tuple[str, str, str]]
    shift_sizes: list[Axes]


def attention_pattern(name: str, grid: Axes) -> AttentionPattern:
    """Return the sub-layers of the pattern `name` on a grid (T, H, W).

    ``full``                   one cuboid, the whole grid
    ``axial``                  whole axes: time, then height, then width
    ``divided_st``             time, then the whole frame
    ``video_swin``             cuboids of 2x4x4, then the same shifted by half
    ``video_swin_PxM``         the same with P frames and MxM cells
    ``spatial_lg_v1``          time, then local 4x4, then dilated 4x4
    ``spatial_lg_M``           the same with MxM cells
    ``axial_space_dilate_K``   time, then height and width, each dilated by K, then local

    Sizes larger than the grid shrink to it; where 4x4 (MxM) covers the frame, ``spatial_lg`` is
    ``divided_st``.

    Raises:
        UserError: an unknown name, a size of 0, or a grid that is not three positive sizes.
    """
    if len(grid) != 3 or min(grid) < 1:
        raise UserError(f"attention pattern {name!r}: grid {grid} must be three positive sizes")
    for expression, build in _PATTERNS.items():
        match = re.fullmatch(expression, name)
        if match:
            sizes = [int(size) for size in match.groups()]
            if 0 in sizes:
                raise UserError(f"attention pattern {name!r}: sizes must be 1 or more")
            return _with_local_defaults(build(*grid, *sizes))
    raise UserError(
        f"attention pattern {name!r} is unknown: choose full, axial, divided_st, video_swin, "
        "video_swin_PxM, spatial_lg_v1, spatial_lg_M or axial_space_dilate_K (P, M, K numbers)"
    )


_SubLayers = list[tuple[Axes, tuple[str, str, str], Axes] | tuple[Axes, tuple[str, str, str]]]


def _with_local_defaults(layers: _SubLayers) -> AttentionPattern:
    whole = [(*layer, (0, 0, 0)) if len(layer) == 2 else layer for layer in layers]
    return AttentionPattern(*(list(column) for column in zip(*whole, strict=True)))


def _full(t: int, h: int, w: int) -> _SubLayers:
    return [((t, h, w), LOCAL)]


def _axial(t: int, h: int, w: int) -> _SubLayers:
    return [((t, 1, 1), LOCAL), ((1, h, 1), LOCAL), ((1, 1, w), LOCAL)]


def _divided(t: int, h: int, w: int) -> _SubLayers:
    return [((t, 1, 1), LOCAL), ((1, h, w), LOCAL)]


def _video_swin(t: int, h: int, w: int, frames: int = 2, side: int = 4) -> _SubLayers:
    frames, side = min(frames, t), min(side, h, w)
    size = (frames, side, side)
    return [(size, LOCAL), (size, LOCAL, (frames // 2, side // 2, side // 2))]


def _spatial_local_global(t: int, h: int, w: int, side: int = 4) -> _SubLayers:
    if h <= side and w <= side:
        return _divided(t, h, w)
    return [((t, 1, 1), LOCAL), ((1, side, side), LOCAL), ((1, side, side), DILATED)]


def _axial_space_dilate(t: int, h: int, w: int, dilation: int) -> _SubLayers:
    dilation = min(dilation, h, w)
    height, width = (1, h // dilation, 1), (1, 1, w // dilation)
    return [
        ((t, 1, 1), LOCAL),
        (height, DILATED),
        (height, LOCAL),
        (width, DILATED),
        (width, LOCAL),
    ]


_PATTERNS: dict[str, Callable[..., _SubLayers]] = {
    "full": _full,
    "axial": _axial,
    "divided_st": _divided,
    "video_swin": _video_swin,
    r"video_swin_(\d+)x(\d+)": _video_swin,
    "spatial_lg_v1": _spatial_local_global,
    r"spatial_lg_(\d+)": _spatial_local_global,
    r"axial_space_dilate_(\d+)": _axial_space_dilate,
}
