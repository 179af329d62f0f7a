"""Which of a schedule's time steps a sampler visits, from noise to data.

The networks are only ever asked about whole time steps, the ones that they were trained on.
"""

import numpy as np

from hpc.errors import UserError

SPACING_POWERS = {"uniform": 1.0, "quadratic": 2.0}


def visited_time_steps(*, num_steps: int, steps: int, spacing: str = "uniform") -> np.ndarray:
    """Return ``steps`` time steps, decreasing from ``num_steps - 1``, int32.

    The remaining noise falls as n (1 - i/K)^p: evenly (``uniform``, p = 1), or with short jumps
    near the data (``quadratic``, p = 2), which suits solvers of second order. The jump to clean
    data after the last step continues the sequence ("trailing": the first step must be the
    noisiest one that the network knows). Steps that would be the same are moved apart.

    Raises:
        UserError: ``steps`` is not in 1 .. ``num_steps``, or the spacing is unknown.

    Source: Lin et al. 2024, table 2 (trailing); Song et al. 2021, appendix D.2 (quadratic).
    """
    check_step_count(num_steps=num_steps, steps=steps)
    if spacing not in SPACING_POWERS:
        raise UserError(
            f"spacing '{spacing}' is unknown: choose one of {', '.join(SPACING_POWERS)}"
        )
    remaining = (1 - np.arange(steps, dtype=np.float64) / steps) ** SPACING_POWERS[spacing]
    visited = np.rint(num_steps * remaining).astype(np.int32) - 1
    room_below = np.arange(steps, dtype=np.int32)[::-1]
    return np.maximum(visited, room_below)


def check_step_count(*, num_steps: int, steps: int) -> None:
    """Raise UserError unless a chain of ``steps`` fits a schedule of ``num_steps``."""
    if not 1 <= steps <= num_steps:
        raise UserError(
            f"sampling steps must be between 1 and the schedule's {num_steps}, not {steps}"
        )
