"""Sampling a denoiser with any solver.

B batch, T time, H, W space, C channel; K network calls.
"""

from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.errors import UserError
from hpc.train.compile_cache import Compiler
from prediff.diffusion.guidance import (
    AlignmentGuidance,
    GuidanceGradient,
    clean_shift_weights,
    matching_steps,
)
from prediff.diffusion.parameterization import ForwardProcess, clean_weights
from prediff.diffusion.samplers.plan import SamplingPlan
from prediff.diffusion.samplers.sampling_step import COEFFICIENTS, SamplingStep
from prediff.diffusion.samplers.solvers import sampling_plan

NoiseSource = Callable[[int], np.ndarray]
"""Unit normals ``[B, T, H, W, C]`` float32 by number: 0 is the chain's start, i the i-th call's."""


MAX_PREDICTION_WEIGHT = 100.0
"""What a prediction may weigh in one update. The network's error is multiplied by it."""


def check_conditioning(
    plan: SamplingPlan, *, schedule: ForwardProcess, parameterization: str, solver: str, steps: int
) -> None:
    """Refuse ``eps`` where a schedule ends in so little signal that it says nothing of x_0.

    Raises:
        UserError: an update weighs the prediction by more than :data:`MAX_PREDICTION_WEIGHT`.
    """
    _, from_prediction = clean_weights(path=schedule, parameterization=parameterization)
    of_clean = plan.column("clean")
    weight = np.abs(of_clean * from_prediction[plan.steps]).max()
    if weight > MAX_PREDICTION_WEIGHT:
        raise UserError(
            f"solver '{solver}' in {steps} steps would multiply the denoiser's error by "
            f"{weight:.0f} where this noise schedule starts: take more steps, or train with "
            "parameterization v or x0"
        )


class Sampler:
    """A denoiser ready to be sampled: compiled once, then used with any solver and step count.

    Args:
        denoiser: Cell ``(noisy, step, condition) -> prediction`` on ``[B, T, H, W, C]``, int32
            ``[B]`` and ``[B, T_in, H, W, C]``.
        schedule: the noise schedule or straight path that it was trained on.
        parameterization: what it predicts.
        guidance: steer the samples towards a mean intensity; None for plain samples.

    Raises:
        UserError: the parameterization means nothing on this path, or an unknown coupling.
    """

    def __init__(
        self,
        denoiser: nn.Cell,
        *,
        schedule: ForwardProcess,
        parameterization: str = "eps",
        guidance: AlignmentGuidance | None = None,
    ):
        self.schedule = schedule
        self.parameterization = parameterization
        self.guidance = guidance
        self._clean_weights = clean_weights(path=schedule, parameterization=parameterization)
        gradient = None
        if guidance is not None:
            gradient = GuidanceGradient(
                guidance.alignment, scale=guidance.scale, coupling=guidance.coupling
            )
        self._step = SamplingStep(denoiser, gradient)

    def compile(
        self, compiler: Compiler, *, shape: tuple[int, ...], condition_shape: tuple[int, ...]
    ) -> None:
        """Compile a call of the network for batches of these shapes.

        The first sample does it otherwise.

        Args:
            compiler: for instance `hpc.train.compile_cache.CompileCache.compile`.
            shape: of the samples, ``(B, T, H, W, C)``.
            condition_shape: ``(B, T_in, H, W, C)``.
        """
        latents, rows = ms.Tensor(np.zeros(shape, np.float32)), len(COEFFICIENTS)
        compiler(
            self._step,
            latents,
            latents,
            ms.Tensor(np.zeros(2, np.int32)),
            ms.Tensor(np.zeros(rows, np.float32)),
            latents,
            ms.Tensor(np.zeros(condition_shape, np.float32)),
            ms.Tensor(np.zeros(shape[0], np.float32)),
        )

    def sample(
        self,
        *,
        noise: NoiseSource,
        condition: ms.Tensor,
        steps: int,
        solver: str,
        target: np.ndarray | None = None,
    ) -> ms.Tensor:
        """Return clean samples, float32 ``[B, T, H, W, C]``, neither clipped nor decoded.

        Args:
            noise: where the chain starts and what it adds, see :data:`NoiseSource`.
            condition: latents of the context, ``[B, T_in, H, W, C]``.
            steps, solver: see :func:`~prediff.diffusion.samplers.solvers.sampling_plan`.
            target: mean intensity to steer to, in [0, 1], ``[B]``; given if and only if the
                sampler has guidance.

        Raises:
            UserError: the plan cannot be made; it would multiply the network's error by more than
                :data:`MAX_PREDICTION_WEIGHT`; or a target without guidance or the reverse.
        """
        if (target is not None) != (self.guidance is not None):
            raise UserError(
                "a target intensity and an alignment network belong together: "
                f"{'the network' if target is not None else 'the target'} is missing"
            )
        plan = sampling_plan(solver=solver, schedule=self.schedule, steps=steps)
        check_conditioning(
            plan,
            schedule=self.schedule,
            parameterization=self.parameterization,
            solver=solver,
            steps=steps,
        )
        call_steps, coefficients = self._rows(plan)
        start = ms.Tensor(noise(0))
        if target is None:
            target = np.zeros(start.shape[0])
        wanted = ms.Tensor(np.asarray(target, np.float32).reshape(-1))
        adds_noise = plan.column("noise") != 0
        no_noise = ms.Tensor(np.zeros(start.shape, np.float32))
        noisy, clean = start, no_noise
        for call in range(plan.network_calls):
            noisy, clean = self._step(
                noisy,
                clean,
                ms.Tensor(call_steps[call]),
                ms.Tensor(coefficients[call]),
                ms.Tensor(noise(call + 1)) if adds_noise[call] else no_noise,
                condition,
                wanted,
            )
        return noisy

    def _rows(self, plan: SamplingPlan) -> tuple[np.ndarray, np.ndarray]:
        """The steps ``[K, 2]`` int32 and the coefficients ``[K, 8]`` float32 of a plan."""
        calls = plan.steps
        from_noisy, from_prediction = self._clean_weights
        guidance_steps, shift, rescale = calls, np.zeros(len(calls)), np.ones(len(calls))
        if self.guidance is not None:
            guidance_schedule = self.guidance.schedule
            matching = matching_steps(path=self.schedule, schedule=guidance_schedule)
            guidance_steps = matching[calls]
            shift = clean_shift_weights(schedule=guidance_schedule)[guidance_steps]
            rescale = 1 / np.hypot(self.schedule.signal, self.schedule.noise_level)[calls]
        columns = {
            "clean_from_noisy": from_noisy[calls],
            "clean_from_prediction": from_prediction[calls],
            **{name: plan.column(name) for name in ("noisy", "clean", "previous", "noise")},
            "guidance": shift,
            "guidance_input": rescale,
        }
        coefficients = np.column_stack([columns[name] for name in COEFFICIENTS])
        return np.column_stack((calls, guidance_steps)), coefficients.astype(np.float32)


def sample(
    *,
    denoiser: nn.Cell,
    noise: NoiseSource,
    schedule: ForwardProcess,
    steps: int,
    solver: str,
    condition: ms.Tensor,
    parameterization: str = "eps",
    guidance: AlignmentGuidance | None = None,
    target: np.ndarray | None = None,
) -> ms.Tensor:
    """Return clean samples of one batch, ``[B, T, H, W, C]``; see :class:`Sampler`.

    Compiles its graph anew, so whoever samples more than one batch holds a :class:`Sampler`.

    Example::

        latents = sample(
            denoiser=denoiser,
            noise=MemberNoise(seed=0, cases=[0, 0], members=[0, 1], shape=(6, 16, 16, 64)),
            schedule=noise_schedule(name="linear"),
            steps=20,
            solver="dpmpp",
            condition=condition,
        )
    """
    sampler = Sampler(
        denoiser, schedule=schedule, parameterization=parameterization, guidance=guidance
    )
    return sampler.sample(
        noise=noise,
        condition=condition,
        steps=steps,
        solver=solver,
        target=target,
    )
