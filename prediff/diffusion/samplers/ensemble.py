"""Many members of many cases, through one compiled batch.

B cases, M members, T time, H, W space, C channel.
"""

from collections.abc import Sequence

import mindspore as ms
import numpy as np

from hpc.errors import UserError
from prediff.diffusion.samplers.member_noise import MemberNoise
from prediff.diffusion.samplers.sampler import Sampler


def sample_ensemble(
    sampler: Sampler,
    *,
    condition: np.ndarray,
    sample_shape: tuple[int, ...],
    members: Sequence[int],
    seed: int,
    steps: int,
    solver: str,
    batch_size: int,
    cases: Sequence[int] | None = None,
    target: np.ndarray | None = None,
) -> np.ndarray:
    """Return clean latents of every member of every case, float32 ``[B, M, T, H, W, C]``.

    The B * M chains run in batches of ``batch_size``; the last one is filled up by repetition,
    so one graph serves all. Ranks share an ensemble by taking different ``members``: a member
    does not depend on which others are computed with it.

    Args:
        condition: latents of each case's context, ``[B, T_in, H, W, C]``.
        sample_shape: ``(T, H, W, C)``.
        members: member numbers to compute, such as ``range(32)``.
        seed: of the forecast.
        batch_size: chains that run together.
        cases: numbers that tell the cases apart, so that each has its own noise; 0 .. B-1 if None.
        steps, solver: as in :meth:`Sampler.sample`.
        target: mean intensity to steer each case to, ``[B]``.

    Raises:
        UserError: guidance in ``reference`` coupling, in which the members of a batch influence
            each other, and the chains do not fill exactly one batch.
    """
    case_numbers = np.arange(len(condition)) if cases is None else np.asarray(cases)
    chain_case, chain_member = (
        index.ravel() for index in np.indices((len(condition), len(members)))
    )
    chains = len(chain_case)
    coupled = sampler.guidance is not None and sampler.guidance.coupling == "reference"
    if coupled and chains != batch_size:
        raise UserError(
            "guidance coupling 'reference' lets the chains of a batch influence each other, so "
            f"all {chains} of them must be one batch (batch_size is {batch_size}): "
            "change batch_size, or use coupling 'per_sample'"
        )
    latents = np.empty((chains, *sample_shape), np.float32)
    for first in range(0, chains, batch_size):
        rows = np.minimum(np.arange(first, first + batch_size), chains - 1)
        noise = MemberNoise(
            seed=seed,
            cases=case_numbers[chain_case[rows]],
            members=np.asarray(members)[chain_member[rows]],
            shape=sample_shape,
        )
        batch = sampler.sample(
            noise=noise,
            condition=ms.Tensor(condition[chain_case[rows]]),
            steps=steps,
            solver=solver,
            target=None if target is None else np.asarray(target)[chain_case[rows]],
        )
        latents[first : first + batch_size] = batch.asnumpy()[: chains - first]
    return latents.reshape(len(condition), len(members), *sample_shape)
