"""Classifier-free guidance: a denoiser that also knows the unconditional distribution.

Training hides the condition of some samples (all zeros); sampling then goes beyond the
conditional prediction, away from the unconditional one. Source: Ho and Salimans 2022.
"""

import numpy as np
from mindspore import nn, ops

from hpc.errors import UserError
from hpc.randomness import keyed_generator


def keyed_condition_keep(
    *, probability: float, seed: int, samples: np.ndarray, step: int
) -> np.ndarray:
    """Return 0 for the samples whose condition is hidden in this step, else 1; float32 ``[B]``.

    Args:
        probability: of hiding, in [0, 1).
        seed: the run's seed.
        samples: global sample numbers, ``[B]``.
        step: optimizer step.

    Raises:
        UserError: the probability is not in [0, 1).
    """
    if not 0 <= probability < 1:
        raise UserError(f"the condition's drop probability must be in [0, 1), not {probability}")
    draws = [
        keyed_generator(seed=seed, stream="condition_drop", sample=int(s), step=step).random()
        for s in samples
    ]
    return (np.asarray(draws) >= probability).astype(np.float32)


class ClassifierFreeDenoiser(nn.Cell):
    """``(1 + weight) * conditional - weight * unconditional``, in one call at twice the batch.

    Args:
        denoiser: Cell ``(noisy, step, condition) -> prediction``, trained with hidden conditions.
        weight: 0 is the plain conditional denoiser; negative values are refused.

    Raises:
        UserError: a negative weight.
    """

    def __init__(self, denoiser: nn.Cell, *, weight: float):
        super().__init__()
        if weight < 0:
            raise UserError(f"the classifier-free guidance weight must not be negative: {weight}")
        self.denoiser = denoiser
        self.weight = weight

    def construct(self, noisy, step, condition):
        both = self.denoiser(
            ops.cat((noisy, noisy)),
            ops.cat((step, step)),
            ops.cat((condition, ops.zeros_like(condition))),
        )
        conditional, unconditional = ops.chunk(both, 2, axis=0)
        return conditional + self.weight * (conditional - unconditional)
