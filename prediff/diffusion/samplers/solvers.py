"""The solvers by name."""

from collections.abc import Callable

from hpc.errors import UserError
from prediff.diffusion.parameterization import ForwardProcess
from prediff.diffusion.samplers.ddim import ddim
from prediff.diffusion.samplers.ddpm import ddpm, ddpm_truncated
from prediff.diffusion.samplers.dpmpp import dpmpp, dpmpp_sde
from prediff.diffusion.samplers.euler import euler
from prediff.diffusion.samplers.heun import heun
from prediff.diffusion.samplers.midpoint import midpoint
from prediff.diffusion.samplers.plan import SamplingPlan
from prediff.diffusion.straight_path import StraightPath

DIFFUSION_SOLVERS: dict[str, Callable[..., SamplingPlan]] = {
    "ddpm": ddpm,
    "ddpm_truncated": ddpm_truncated,
    "ddim": ddim,
    "dpmpp": dpmpp,
    "dpmpp_sde": dpmpp_sde,
    "heun": heun,
}
FLOW_SOLVERS: dict[str, Callable[..., SamplingPlan]] = {"euler": euler, "midpoint": midpoint}
SOLVERS = DIFFUSION_SOLVERS | FLOW_SOLVERS


def sampling_plan(*, solver: str, schedule: ForwardProcess, steps: int) -> SamplingPlan:
    """Return the network calls of a solver and how to combine them.

    Args:
        solver: a key of :data:`SOLVERS`.
        schedule: what the denoiser was trained on.
        steps: solver steps; heun and midpoint make two network calls in each.

    Raises:
        UserError: an unknown solver, one that does not fit the schedule, or a step count out of
            range.
    """
    if solver not in SOLVERS:
        raise UserError(f"solver '{solver}' is unknown: choose one of {', '.join(SOLVERS)}")
    trained_by_flow = isinstance(schedule, StraightPath)
    if trained_by_flow != (solver in FLOW_SOLVERS):
        trained_by = "flow matching" if trained_by_flow else "diffusion"
        usable = FLOW_SOLVERS if trained_by_flow else DIFFUSION_SOLVERS
        raise UserError(
            f"solver '{solver}' does not fit a denoiser trained by {trained_by}: "
            f"choose one of {', '.join(usable)}"
        )
    return SOLVERS[solver](schedule=schedule, steps=steps)
