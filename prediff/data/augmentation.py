"""Augmentation of radar frames: the same flip and rotation for all frames of a sequence.

Frames are [..., H, W, C]; a batch has its samples first: [B, T, H, W, C] or [B, H, W, C].
Source: MODEL sections 3 and 6.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from hpc.errors import UserError
from hpc.randomness import keyed_generator

AugmentationMode = Literal[0, 1, 2]

DIHEDRAL_VARIANTS = range(8)
"""The symmetries of a square. Variant v mirrors if v >= 4, then rotates by 90 (v % 4) degrees."""


def dihedral(frames: np.ndarray, *, variant: int) -> np.ndarray:
    """Return frames [..., H, W, C] under one symmetry of the square; variant 0 changes nothing.

    Raises:
        UserError: the variant turns by 90 degrees and the frames are not square.
    """
    assert variant in DIHEDRAL_VARIANTS
    if variant % 2:
        _require_square(frames)
    mirrored = np.flip(frames, axis=-2) if variant >= 4 else frames
    return np.rot90(mirrored, k=variant % 4, axes=(-3, -2))


def rotate(frames: np.ndarray, *, degrees: float) -> np.ndarray:
    """Return frames [..., H, W, C] rotated about their centre, counter-clockwise as displayed.

    Every pixel takes its nearest source pixel; what comes from outside is zero.
    """
    height, width = frames.shape[-3:-1]
    angle = np.deg2rad(degrees)
    y = np.arange(height)[:, None] - (height - 1) / 2
    x = np.arange(width)[None, :] - (width - 1) / 2
    source_y = np.rint(np.cos(angle) * y + np.sin(angle) * x + (height - 1) / 2).astype(int)
    source_x = np.rint(np.cos(angle) * x - np.sin(angle) * y + (width - 1) / 2).astype(int)
    inside = (source_y >= 0) & (source_y < height) & (source_x >= 0) & (source_x < width)
    rotated = frames[..., source_y.clip(0, height - 1), source_x.clip(0, width - 1), :]
    return np.where(inside[..., None], rotated, frames.dtype.type(0))


def augment(
    frames: np.ndarray,
    *,
    mode: AugmentationMode,
    seed: int,
    samples: Sequence[int] | np.ndarray,
    step: int = 0,
) -> np.ndarray:
    """Return a batch with each sample augmented by its own draw.

    Mode 0: nothing. Mode 1: mirrored with p = 0.5 and rotated by an angle uniform in +-180 degrees
    (nearest pixel, zero fill). Mode 2: horizontal and vertical flip with p = 0.5 each and a
    rotation by a random multiple of 90 degrees, which together are a uniform draw from the eight
    symmetries of the square. (Two flips are half a turn, so mode 1 needs one mirror only.)

    Args:
        frames: ``[B, ..., H, W, C]``.
        seed: the run's seed.
        samples: ``[B]`` global sample numbers.
        step: optimizer step.

    Raises:
        UserError: mode 2 and frames that are not square.
    """
    if mode == 0:
        return frames
    if mode == 2:
        _require_square(frames)
    out = np.empty_like(frames)
    for row, source, sample in zip(out, frames, samples, strict=True):
        generator = keyed_generator(seed=seed, stream="augmentation", sample=int(sample), step=step)
        if mode == 2:
            row[...] = dihedral(source, variant=int(generator.integers(len(DIHEDRAL_VARIANTS))))
        else:
            mirrored = np.flip(source, axis=-2) if generator.random() < 0.5 else source
            row[...] = rotate(mirrored, degrees=generator.uniform(-180, 180))
    return out


def _require_square(frames: np.ndarray) -> None:
    height, width = frames.shape[-3:-1]
    if height != width:
        raise UserError(
            f"Rotation by 90 degrees needs square frames, these are {height}x{width}: use "
            f"augmentation mode 0 or 1"
        )
