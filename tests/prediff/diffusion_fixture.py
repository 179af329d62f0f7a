"""Inputs and outputs of the published PyTorch code, small configuration.

Outputs are kept at every fourth row and column (:data:`KEPT`); inputs are made from their seeds.
"""

from pathlib import Path

import numpy as np

KEPT = np.s_[:, :, ::4, ::4]
REFERENCE = dict(np.load(Path(__file__).parents[1] / "data" / "diffusion.npz"))
SHAPE = (2, 3, 16, 16, 8)
T = np.array([37, 812], np.int32)


def normals(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def noisy() -> np.ndarray:
    return normals(1)


def condition() -> np.ndarray:
    return normals(2, (2, 4, 16, 16, 8))


def clean() -> np.ndarray:
    return normals(6)


def noise() -> np.ndarray:
    return normals(7)


def log_variance() -> np.ndarray:
    return 0.1 * normals(11, (1000,))
