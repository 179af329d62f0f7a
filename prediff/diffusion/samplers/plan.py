"""A solver as data: which network calls to make, and how to combine their results.

Every solver here is linear in the noisy sample x, the estimate D of the clean one, the estimate
of the call before, and fresh noise. So a solver is a table with one row a network call,

    D  = estimate of x_0 from the network at (x, t)
    x <- noisy * x + clean * D + previous * D_before + noise * unit_normal

and one compiled Cell runs all of them. A solver with two calls a step (Heun, midpoint) is two
rows: the second recovers the state before the first from x and D_before, which is linear too.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True)
class SamplingPlan:
    """The rows of one solver, from noise to data.

    Attributes:
        steps: time step of each network call, int32 ``[K]``.
        noisy, clean, previous, noise: the columns, float64 ``[K]``, or one number for all rows.
    """

    steps: np.ndarray
    noisy: np.ndarray
    clean: np.ndarray
    previous: np.ndarray | float = 0.0
    noise: np.ndarray | float = 0.0

    def column(self, name: str) -> np.ndarray:
        """Return a column as ``[K]``."""
        return np.broadcast_to(getattr(self, name), self.steps.shape)

    @property
    def network_calls(self) -> int:
        return len(self.steps)

    @property
    def stochastic(self) -> bool:
        return bool(np.any(self.noise))
