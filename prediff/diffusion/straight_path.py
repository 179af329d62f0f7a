"""The straight path of flow matching, from noise to data at constant speed."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpc.errors import UserError


@dataclass(frozen=True)
class StraightPath:
    """x_s = (1 - s) x_0 + s noise, at the times s = (t + 1) / n of n whole steps t = 0 .. n-1.

    Whole steps make the denoiser, its step embedding and its learned loss weights the same as in
    diffusion. Step n-1 is pure noise; data, s = 0, would be step -1 and is never asked for.

    Source: Lipman et al. 2023 (optimal-transport path); Liu et al. 2023 (rectified flow).
    """

    num_steps: int = 1000

    def __post_init__(self) -> None:
        if self.num_steps < 2:
            raise UserError(f"a straight path needs at least 2 steps, not {self.num_steps}")

    @cached_property
    def noise_level(self) -> np.ndarray:
        """What the unit noise is multiplied by in x_s: s itself. Float64 ``[n]``."""
        return np.arange(1, self.num_steps + 1, dtype=np.float64) / self.num_steps

    @cached_property
    def signal(self) -> np.ndarray:
        """What x_0 is multiplied by in x_s. Float64 ``[n]``."""
        return 1 - self.noise_level
