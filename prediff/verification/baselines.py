"""Forecasts that cost nothing: what a model has to beat, on the same cases, by the same code.

B case, M member, T frame, H height, W width. Values are VIL / 255, in [0, 1].

Extrapolation and STEPS come from pysteps (optional: ``pip install pysteps``).
"""

from contextlib import redirect_stdout
from io import StringIO
from types import ModuleType

import numpy as np

from hpc.errors import UserError
from hpc.randomness import keyed_generator

RAIN_VIL = 16.0
"""Below this value on the 0-255 scale a pixel is dry to the optical flow and to STEPS."""


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
            import pysteps.extrapolation.semilagrangian
            import pysteps.motion.vet
            import pysteps.nowcasts.steps
    except ImportError as error:
        raise UserError(
            "the baselines 'extrapolation' and 'steps' need pysteps; install it with "
            f"`pip install 'pysteps>=1.13'` or leave them out ({error})"
        ) from None
    return pysteps


def motion_field(*, context: np.ndarray) -> np.ndarray:
    """Return the motion ``[2, H, W]`` in pixels a frame: x, then y.

    Variational echo tracking (Laroche & Zawadzki 1995) on the last 3 frames: on radar data of
    128 x 128 its forecasts beat those of Lucas-Kanade, DARTS and Proesmans. A dry context has no
    motion: zeros.
    """
    pysteps = import_pysteps()
    vil = _rain(context[-3:])
    if len(vil) < 2 or (vil.max(axis=(-2, -1)) < RAIN_VIL).any():
        return np.zeros((2, *context.shape[-2:]))
    sectors = [size for size in (32, 16, 4, 2) if size <= min(vil.shape[-2:]) // 2]
    with redirect_stdout(StringIO()):
        motion = pysteps.motion.vet.vet(vil, sectors=np.array([sectors] * 2), verbose=False)
    return np.nan_to_num(np.asarray(motion))


def extrapolation(*, context: np.ndarray, forecast_frames: int) -> np.ndarray:
    """Return ``[B, 1, T, H, W]``: the last frame moved along the optical flow.

    Lagrangian persistence (Germann & Zawadzki 2002), semi-Lagrangian backward. What flows in from
    outside the frame is unknown and taken as dry.
    """
    pysteps = import_pysteps()
    context = np.asarray(context, np.float32)
    out = np.empty((len(context), 1, forecast_frames, *context.shape[2:]), np.float32)
    for row, frames in zip(out, context, strict=True):
        row[0] = pysteps.extrapolation.semilagrangian.extrapolate(
            np.nan_to_num(frames[-1].astype(np.float64)),
            motion_field(context=frames),
            forecast_frames,
            outval=0.0,
        )
    return np.clip(out, 0.0, 1.0)


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
        motion = motion_field(context=frames)
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
