"""Forecasts that cost nothing: what a model has to beat, on the same cases, by the same code.

B case, M member, T frame, H height, W width. Values are VIL / 255, in [0, 1].

STEPS comes from pysteps (optional: ``pip install pysteps``). How the motion and the settings of
STEPS were chosen stands in docs/benchmarks/baselines.md.
"""

from contextlib import redirect_stdout
from io import StringIO
from types import ModuleType

import numpy as np

from hpc.errors import UserError
from hpc.randomness import keyed_generator
from prediff.data.extrapolation import extrapolate
from prediff.data.motion import motion_field

RAIN_VIL = 6.0
"""Below this value on the 0-255 scale a pixel is dry to STEPS; more would delete the drizzle."""


def persistence(*, context: np.ndarray, forecast_frames: int) -> np.ndarray:
    """Return ``[B, 1, T, H, W]``: the last frame of the context ``[B, T, H, W]``, held still.

    Also called Eulerian persistence.
    """
    last = np.asarray(context, np.float32)[:, None, -1:]
    return np.repeat(last, forecast_frames, axis=2)


def climatology(
    *, library: np.ndarray, cases: np.ndarray, members: int, forecast_frames: int, seed: int
) -> np.ndarray:
    """Return ``[B, M, T, H, W]``: sequences drawn at random from other events.

    A forecast that knows what rain looks like and nothing of today; its CRPS is the score of no
    skill, and its rank histogram is flat.

    Args:
        library: ``[N, T, H, W]`` sequences of the training period, N at least `members`.
        cases: ``[B]`` global numbers of the cases; a case draws the same members on any rank.
    """
    if len(library) < members:
        raise UserError(
            f"climatology of {members} members needs as many training sequences, there are "
            f"{len(library)}; ask for fewer members"
        )
    if library.shape[1] < forecast_frames:
        raise UserError(
            f"climatology needs sequences of {forecast_frames} frames, the library's have "
            f"{library.shape[1]}"
        )
    out = np.empty((len(cases), members, forecast_frames, *library.shape[2:]), np.float32)
    for row, case in zip(out, cases, strict=True):
        generator = keyed_generator(seed=seed, stream="climatology", sample=int(case))
        chosen = generator.choice(len(library), size=members, replace=False)
        row[:] = library[np.sort(chosen), -forecast_frames:]
    return out


def import_pysteps() -> ModuleType:
    """Return pysteps.

    Raises:
        UserError: it is not installed, or cannot be imported.
    """
    try:
        # pysteps prints where its configuration lies.
        with redirect_stdout(StringIO()):
            import pysteps
            import pysteps.nowcasts.steps
    except ImportError as error:
        raise UserError(
            "the baseline 'steps' needs pysteps; install it with "
            f"`pip install 'pysteps>=1.13'` or leave it out ({error})"
        ) from None
    return pysteps


def extrapolation(*, context: np.ndarray, forecast_frames: int) -> np.ndarray:
    """Return ``[B, 1, T, H, W]``: the last frame moved along its motion.

    Lagrangian persistence, `prediff.data.extrapolation`. What flows in from outside the frame is
    unknown and taken as dry.
    """
    moved = [
        extrapolate(context_THW=frames, forecast_frames=forecast_frames)
        for frames in np.asarray(context, np.float32)
    ]
    return np.clip(np.stack(moved)[:, None], 0.0, 1.0)


def steps(
    *,
    context: np.ndarray,
    cases: np.ndarray,
    members: int,
    forecast_frames: int,
    cadence_minutes: float,
    kilometres_per_pixel: float,
    seed: int,
) -> np.ndarray:
    """Return ``[B, M, T, H, W]``: the STEPS ensemble (Bowler et al. 2006) of pysteps.

    It runs on the 0-255 code of VIL, which is logarithmic in the liquid water above 18, as STEPS
    wants. A context without rain is forecast to stay dry.

    Args:
        context: ``[B, T, H, W]`` with at least 3 frames.
        cases: ``[B]`` global numbers of the cases; a case draws the same members on any rank.
    """
    pysteps = import_pysteps()
    context = np.asarray(context, np.float32)
    if context.shape[1] < 3:
        raise UserError(f"STEPS needs at least 3 context frames, there are {context.shape[1]}")
    height, width = context.shape[2:]
    out = np.zeros((len(context), members, forecast_frames, height, width), np.float32)
    for row, frames, case in zip(out, context, cases, strict=True):
        vil = _rain(frames[-3:])
        if (vil >= RAIN_VIL).mean(axis=(-2, -1)).min() < 0.001:
            row[:] = persistence(context=frames[None], forecast_frames=forecast_frames)[0]
            continue
        generator = keyed_generator(seed=seed, stream="steps", sample=int(case))
        motion = motion_field(context_THW=frames).astype(np.float64)
        with redirect_stdout(StringIO()):
            forecast = pysteps.nowcasts.steps.forecast(
                vil,
                motion,
                forecast_frames,
                n_ens_members=members,
                n_cascade_levels=max(2, int(np.log2(min(height, width))) - 1),
                precip_thr=RAIN_VIL,
                kmperpixel=kilometres_per_pixel,
                timestep=cadence_minutes,
                seed=int(generator.integers(2**31)),
                num_workers=1,
            )
        row[:] = np.nan_to_num(forecast) / 255
    return np.clip(out, 0.0, 1.0)


def _rain(frames: np.ndarray) -> np.ndarray:
    """Return the frames on the 0-255 scale, float64, with missing and dry pixels 0."""
    vil = np.nan_to_num(frames.astype(np.float64)) * 255
    return np.where(vil >= RAIN_VIL, vil, 0.0)
