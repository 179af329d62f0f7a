"""The variance-preserving noise schedules of diffusion training, as float64 tables.

Time step t = 0 .. n-1 is an index into every table; t = 0 is almost clean, t = n-1 almost noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import mindspore as ms
import numpy as np

from hpc.errors import UserError
from prediff.diffusion.time_steps import visited_time_steps

Table = np.ndarray


def _linear(n: int) -> Table:
    return np.linspace(1e-4**0.5, 2e-2**0.5, n, dtype=np.float64) ** 2


def _cosine(n: int) -> Table:
    offset = 8e-3
    angle = (np.arange(n + 1, dtype=np.float64) / n + offset) / (1 + offset) * np.pi / 2
    signal_power = np.cos(angle) ** 2
    return np.clip(1 - signal_power[1:] / signal_power[:-1], 0, 0.999)


def _sqrt_linear(n: int) -> Table:
    return np.linspace(1e-4, 2e-2, n, dtype=np.float64)


def _sqrt(n: int) -> Table:
    return _sqrt_linear(n) ** 0.5


SCHEDULES: dict[str, Callable[[int], Table]] = {
    "linear": _linear,
    "cosine": _cosine,
    "sqrt_linear": _sqrt_linear,
    "sqrt": _sqrt,
}


def noise_schedule(*, name: str = "linear", num_steps: int = 1000) -> "NoiseSchedule":
    """Return a named schedule: ``linear`` (PreDiff's), ``cosine``, ``sqrt_linear`` or ``sqrt``.

    Raises:
        UserError: the name is unknown or ``num_steps`` is below 2.

    Source: latent diffusion's schedules; ``linear`` is linear in the square root of beta, and
    ``cosine`` is Nichol and Dhariwal 2021, eq. 17.
    """
    if name not in SCHEDULES:
        raise UserError(f"noise schedule '{name}' is unknown: choose one of {', '.join(SCHEDULES)}")
    if num_steps < 2:
        raise UserError(f"a noise schedule needs at least 2 steps, not {num_steps}")
    return NoiseSchedule(betas=SCHEDULES[name](num_steps))


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Tables of q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I) and of its posterior.

    Every property is a float64 array ``[n]``; :meth:`tensor` gives its float32 tensor. The names
    follow Ho et al. 2020 (eq. 4, 6 and 7) and the code that descends from it.

    Attributes:
        betas: the variance that each step adds, ``[n]``, each in (0, 1).
    """

    betas: Table

    def tensor(self, table: str) -> ms.Tensor:
        """Return one table by name as a float32 MindSpore tensor ``[n]``."""
        return ms.Tensor(getattr(self, table).astype(np.float32))

    @property
    def num_steps(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas(self) -> Table:
        return 1 - self.betas

    @cached_property
    def alphas_cumprod(self) -> Table:
        return np.cumprod(self.alphas)

    @cached_property
    def alphas_cumprod_prev(self) -> Table:
        return np.append(1.0, self.alphas_cumprod[:-1])

    @cached_property
    def sqrt_alphas_cumprod(self) -> Table:
        return np.sqrt(self.alphas_cumprod)

    @cached_property
    def sqrt_one_minus_alphas_cumprod(self) -> Table:
        return np.sqrt(1 - self.alphas_cumprod)

    @cached_property
    def log_one_minus_alphas_cumprod(self) -> Table:
        return np.log(1 - self.alphas_cumprod)

    @cached_property
    def sqrt_recip_alphas_cumprod(self) -> Table:
        return np.sqrt(1 / self.alphas_cumprod)

    @cached_property
    def sqrt_recipm1_alphas_cumprod(self) -> Table:
        return np.sqrt(1 / self.alphas_cumprod - 1)

    @property
    def signal(self) -> Table:
        """What x_0 is multiplied by in x_t."""
        return self.sqrt_alphas_cumprod

    @property
    def noise_level(self) -> Table:
        """What the unit noise is multiplied by in x_t."""
        return self.sqrt_one_minus_alphas_cumprod

    @cached_property
    def posterior_variance(self) -> Table:
        """Variance of q(x_{t-1} | x_t, x_0); 0 at t = 0."""
        return self.betas * (1 - self.alphas_cumprod_prev) / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_log_variance_clipped(self) -> Table:
        return np.log(np.maximum(self.posterior_variance, 1e-20))

    @cached_property
    def posterior_mean_coef1(self) -> Table:
        """Weight of x_0 in the mean of q(x_{t-1} | x_t, x_0)."""
        return self.betas * np.sqrt(self.alphas_cumprod_prev) / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_mean_coef2(self) -> Table:
        """Weight of x_t in the mean of q(x_{t-1} | x_t, x_0)."""
        return (1 - self.alphas_cumprod_prev) * np.sqrt(self.alphas) / (1 - self.alphas_cumprod)

    @cached_property
    def lvlb_weights(self) -> Table:
        """Weight of |eps - eps_hat|^2 in the variational bound; entry 0, infinite, is entry 1.

        Computed from the float32 tables, as in the published code: 1 - abar loses up to 1e-4 of
        its value near t = 0. Source: Ho et al. 2020, eq. 12.
        """
        beta, alpha, abar, variance = (
            table.astype(np.float32)
            for table in (self.betas, self.alphas, self.alphas_cumprod, self.posterior_variance)
        )
        weights = np.empty_like(beta)
        weights[1:] = beta[1:] ** 2 / (2 * variance[1:] * alpha[1:] * (1 - abar[1:]))
        weights[0] = weights[1]
        return weights.astype(np.float64)

    def respaced(
        self, steps: int, *, spacing: str = "uniform"
    ) -> tuple["NoiseSchedule", np.ndarray]:
        """Return the schedule that visits only ``steps`` of the time steps, and those steps.

        Its betas are those of the longer jumps, so that abar agrees at every visited step and
        ancestral sampling on it is a consistent, shorter chain.

        Returns:
            the schedule (``steps`` long), and the visited time steps of this one, increasing.
        """
        visited = visited_time_steps(num_steps=self.num_steps, steps=steps, spacing=spacing)[::-1]
        if steps == self.num_steps:
            return self, visited
        kept = self.alphas_cumprod[visited]
        return NoiseSchedule(betas=1 - kept / np.append(1.0, kept[:-1])), visited
