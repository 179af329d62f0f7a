"""Noise that belongs to an ensemble member, not to a batch or a rank."""

from collections.abc import Sequence

import numpy as np

from hpc.randomness import keyed_normal

MEMBERS_OF_A_CASE = 2**20


class MemberNoise:
    """Unit normals keyed by (seed, case, member, number of the draw).

    Args:
        seed: of the forecast, non-negative.
        cases: which forecast each row belongs to, non-negative integers ``[B]``.
        members: which member of it each row is, 0 .. 2**20 - 1, ``[B]``.
        shape: of one sample, ``(T, H, W, C)``.

    Member k of a case has the same noise in any batch, on any rank, beside any other members.
    """

    def __init__(
        self, *, seed: int, cases: Sequence[int], members: Sequence[int], shape: tuple[int, ...]
    ):
        member = np.asarray(members, np.int64)
        assert np.all((member >= 0) & (member < MEMBERS_OF_A_CASE))
        self.seed = seed
        self.samples = np.asarray(cases, np.int64) * MEMBERS_OF_A_CASE + member
        self.shape = shape

    def __call__(self, number: int) -> np.ndarray:
        """Return draw ``number`` of each row, float32 ``[B, T, H, W, C]``."""
        return keyed_normal(
            seed=self.seed,
            stream="member_noise",
            samples=self.samples,
            step=number,
            shape=self.shape,
        )
