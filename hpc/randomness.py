"""Randomness as data: every draw is a function of (seed, stream, sample, step).

A draw never depends on the rank that makes it, on the order of the draws, or on where a run was
interrupted, so a loss curve is the same on any mesh.
"""

from zlib import crc32

import numpy as np


def keyed_generator(*, seed: int, stream: str, sample: int, step: int = 0) -> np.random.Generator:
    """Return the generator that belongs to one (seed, stream, sample, step).

    Args:
        seed: the run's seed, non-negative.
        stream: what the numbers are for, such as ``"diffusion_noise"``.
        sample: global sample number, independent of ranks and batches.
        step: optimizer step, or 0 for draws that do not change over a run.

    Source: counter-based generators, Salmon et al. 2011 (Philox 4x64). Sample and step fill the
    two high words of the counter; the two low words leave 2**128 draws to each key.
    """
    return np.random.Generator(
        np.random.Philox(key=[seed, crc32(stream.encode())], counter=[0, 0, sample, step])
    )


def keyed_normal(
    *, seed: int, stream: str, samples: np.ndarray, step: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Return standard normals ``[len(samples), *shape]`` float32, one generator a sample."""
    out = np.empty((len(samples), *shape), np.float32)
    for row, sample in zip(out, samples, strict=True):
        generator = keyed_generator(seed=seed, stream=stream, sample=int(sample), step=step)
        generator.standard_normal(dtype=np.float32, out=row)
    return out
