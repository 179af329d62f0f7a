"""Every solver as its paper writes it, in float64 numpy, step by step; no shared code.

Running this file writes the goldens ``tests/data/samplers.npz``.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np

SHAPE = (2, 2, 3, 3, 2)
GOLDENS = Path(__file__).parents[1] / "data" / "samplers.npz"
STEPS = 6


def betas(name: str) -> np.ndarray:
    n = 1000
    if name == "linear":
        return np.linspace(0.0001**0.5, 0.02**0.5, n) ** 2
    if name == "cosine":

        def f(u):
            return np.cos((u / n + 0.008) / 1.008 * np.pi / 2) ** 2

        k = np.arange(n)
        return np.minimum(1 - f(k + 1) / f(k), 0.999)
    return np.linspace(0.0001, 0.02, n) ** (0.5 if name == "sqrt" else 1)


def normals(number: int) -> np.ndarray:
    draw = np.random.RandomState(1000 + number).standard_normal(SHAPE)
    return draw.astype(np.float32).astype(np.float64)


def condition() -> np.ndarray:
    return np.random.RandomState(1).standard_normal((2, 3, 3, 3, 2)).astype(np.float32)


def ideal(x: np.ndarray, t: int, cond: np.ndarray) -> np.ndarray:
    """The toy network's idea of x_0: bounded, nonlinear, and made of all that it is given."""
    mixed = 0.7 * x + 0.3 * x.mean(axis=-1, keepdims=True) + cond.mean(axis=1, keepdims=True)
    return np.tanh(mixed) * (0.5 + t / 2000)


def uniform(steps: int) -> list[int]:
    return [round(1000 * (steps - i) / steps) - 1 for i in range(steps)]


def quadratic(steps: int) -> list[int]:
    return [max(round(1000 * ((steps - i) / steps) ** 2) - 1, steps - 1 - i) for i in range(steps)]


class Diffusion:
    """One chain's environment: abar, and x_0 and eps as the network estimates them.

    All parameterizations of one network agree on x_0, so their goldens are one.
    """

    def __init__(self, schedule: str):
        self.abar = np.cumprod(1 - betas(schedule))
        self.condition = condition().astype(np.float64)

    def estimate(self, x: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        x0 = ideal(x, t, self.condition)
        return x0, (x - self.abar[t] ** 0.5 * x0) / (1 - self.abar[t]) ** 0.5


def run_ddpm(env: Diffusion, steps: int, *, visited: list[int] | None = None) -> np.ndarray:
    """Ho et al. 2020, algorithm 2, with the posterior variance, on respaced betas."""
    visited = visited or uniform(steps)
    x = normals(0)
    for i, t in enumerate(visited):
        before = env.abar[visited[i + 1]] if i + 1 < len(visited) else 1.0
        alpha = env.abar[t] / before
        _, eps = env.estimate(x, t)
        x = (x - (1 - alpha) / (1 - env.abar[t]) ** 0.5 * eps) / alpha**0.5
        if i + 1 < len(visited):
            variance = (1 - alpha) * (1 - before) / (1 - env.abar[t])
            x = x + variance**0.5 * normals(i + 1)
    return x


def run_ddpm_truncated(env: Diffusion, steps: int) -> np.ndarray:
    return run_ddpm(env, steps, visited=list(range(steps))[::-1])


def run_ddim(env: Diffusion, steps: int, eta: float = 0.0) -> np.ndarray:
    """Song et al. 2021, eq. 12 and 16."""
    visited = uniform(steps)
    x = normals(0)
    for i, t in enumerate(visited):
        after = env.abar[visited[i + 1]] if i + 1 < steps else 1.0
        sigma = eta * ((1 - after) / (1 - env.abar[t])) ** 0.5 * (1 - env.abar[t] / after) ** 0.5
        x0, eps = env.estimate(x, t)
        x = after**0.5 * x0 + (1 - after - sigma**2) ** 0.5 * eps + sigma * normals(i + 1)
    return x


def run_dpmpp(env: Diffusion, steps: int, *, sde: bool = False) -> np.ndarray:
    """Lu et al. 2022 (DPM-Solver++), algorithm 2, and its appendix on SDE-DPM-Solver++(2M)."""
    visited = quadratic(steps)
    x, old, old_h = normals(0), None, None
    for i, t in enumerate(visited):
        x0, _ = env.estimate(x, t)
        if i + 1 == steps:
            return x0
        q = visited[i + 1]
        a, s = env.abar[q] ** 0.5, (1 - env.abar[q]) ** 0.5
        h = 0.5 * np.log(env.abar[q] / (1 - env.abar[q]) / (env.abar[t] / (1 - env.abar[t])))
        d = x0
        if old is not None:
            r = old_h / h
            d = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * old
        ratio = s / (1 - env.abar[t]) ** 0.5
        if sde:
            x = ratio * np.exp(-h) * x + a * -np.expm1(-2 * h) * d
            x = x + s * (-np.expm1(-2 * h)) ** 0.5 * normals(i + 1)
        else:
            x = ratio * x - a * np.expm1(-h) * d
        old, old_h = x0, h
    raise AssertionError


def run_dpmpp_sde(env: Diffusion, steps: int) -> np.ndarray:
    return run_dpmpp(env, steps, sde=True)


def run_heun(env: Diffusion, steps: int) -> np.ndarray:
    """The trapezoidal predictor-corrector for dx/df = v in the angle f (v = a eps - s x_0)."""

    def slope(x: np.ndarray, t: int) -> np.ndarray:
        x0, eps = env.estimate(x, t)
        return env.abar[t] ** 0.5 * eps - (1 - env.abar[t]) ** 0.5 * x0

    visited = quadratic(steps)
    x = normals(0)
    for t, q in pairwise(visited):
        turn = np.arccos(env.abar[q] ** 0.5) - np.arccos(env.abar[t] ** 0.5)
        first = slope(x, t)
        second = slope(x + turn * first, q)
        x = x + turn * (first + second) / 2
    return env.estimate(x, visited[-1])[0]


class Flow:
    """dx/ds as the network estimates it on the straight path, s = (t + 1) / 1000."""

    def __init__(self) -> None:
        self.condition = condition().astype(np.float64)

    def velocity(self, x: np.ndarray, t: int) -> np.ndarray:
        return (x - ideal(x, t, self.condition)) / ((t + 1) / 1000)


def run_euler(env: Flow, steps: int) -> np.ndarray:
    x = normals(0)
    visited = uniform(steps)
    for t, q in zip(visited, [*visited[1:], -1], strict=True):
        x = x + (q - t) / 1000 * env.velocity(x, t)
    return x


def run_midpoint(env: Flow, steps: int) -> np.ndarray:
    x = normals(0)
    visited = uniform(2 * steps)
    for t, m, q in zip(visited[::2], visited[1::2], [*visited[2::2], -1], strict=True):
        middle = x + (m - t) / 1000 * env.velocity(x, t)
        x = x + (q - t) / 1000 * env.velocity(middle, m)
    return x


def run_ddim_half(env: Diffusion, steps: int) -> np.ndarray:
    return run_ddim(env, steps, eta=0.5)


DIFFUSION_RUNS = {
    "ddpm": run_ddpm,
    "ddpm_truncated": run_ddpm_truncated,
    "ddim": run_ddim,
    "ddim_eta0.5": run_ddim_half,
    "dpmpp": run_dpmpp,
    "dpmpp_sde": run_dpmpp_sde,
    "heun": run_heun,
}
FLOW_RUNS = {"euler": run_euler, "midpoint": run_midpoint}
SCHEDULES = ("linear", "cosine", "sqrt_linear", "sqrt")


def goldens() -> dict[str, np.ndarray]:
    """Every solver on every schedule, float64 ``SHAPE`` each."""
    result = {
        f"{solver}/{schedule}": run(Diffusion(schedule), STEPS)
        for schedule in SCHEDULES
        for solver, run in DIFFUSION_RUNS.items()
    }
    return result | {f"{solver}/straight": run(Flow(), STEPS) for solver, run in FLOW_RUNS.items()}


if __name__ == "__main__":
    np.savez_compressed(GOLDENS, **goldens())
