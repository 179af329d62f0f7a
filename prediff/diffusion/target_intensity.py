"""Where the intensity that guidance asks for comes from.

Pure numpy. B batch, T time, H, W space; frames are pixels in [0, 1], NaN where missing.
"""

import numpy as np

from hpc.errors import UserError

TARGET_SOURCES = {
    "oracle": "the mean of the true future, which no forecaster has (the published demonstration)",
    "persistence": "the mean of the context frames",
    "trend": "a straight line through the context's frame means, continued over the lead times",
    "climatology": "the mean of the training set",
    "number": "a mean intensity given by the user",
}

REFERENCE_FACTOR = 2.0
"""The published demonstration asks for twice the true future's mean intensity (MODEL 4.6)."""


def frame_intensity(frames: np.ndarray) -> np.ndarray:
    """Return the mean pixel of each frame, ``[B, T, H, W, 1] -> [B, T, 1]`` float32.

    Missing pixels are left out; a frame that has none but missing ones gives NaN.
    """
    valid = np.isfinite(frames)
    count = valid.sum(axis=(2, 3))
    total = np.where(valid, frames, 0).sum(axis=(2, 3), dtype=np.float64)
    mean = np.full(total.shape, np.nan)
    return np.divide(total, count, out=mean, where=count > 0).astype(np.float32)


def target_intensity(
    *,
    source: str,
    lead_frames: int,
    context: np.ndarray,
    future: np.ndarray | None = None,
    value: float | None = None,
    factor: float = 1.0,
) -> np.ndarray:
    """Return the mean intensity to ask for, one number a sample, float32 ``[B]`` in [0, 1].

    What is measured, then multiplied by the factor, is cut to [0, 1].

    Args:
        source: a key of :data:`TARGET_SOURCES`.
        lead_frames: how many frames are forecast.
        context: the observed frames, ``[B, T_in, H, W, 1]``.
        future: the true future ``[B, T_out, H, W, 1]``, for ``oracle`` alone.
        value: the mean intensity, for ``climatology`` and ``number`` alone.
        factor: multiplies the source: 1.2 asks "what if it rains 20 % more". The published
            demonstration is ``oracle`` with a factor of :data:`REFERENCE_FACTOR`.

    Raises:
        UserError: unknown source, missing or superfluous input, a given value that leaves [0, 1],
            or a sample without a valid pixel.
    """
    if source not in TARGET_SOURCES:
        known = ", ".join(TARGET_SOURCES)
        raise UserError(f"guidance target '{source}' is unknown: choose one of {known}")
    _require(source, "the true future", given=future is not None, users=("oracle",))
    _require(source, "a mean value", given=value is not None, users=("climatology", "number"))
    match source:
        case "oracle":
            assert future is not None
            wanted = _mean_of_known(frame_intensity(future))
        case "persistence":
            wanted = _mean_of_known(frame_intensity(context))
        case "trend":
            wanted = _continued_trend(frame_intensity(context), lead_frames)
        case _:
            wanted = np.full(len(context), value, np.float64)
    wanted = factor * wanted
    if value is not None and not 0 <= factor * value <= 1:
        raise UserError(
            f"guidance target '{source}' asks for a mean intensity of {factor * value:g}: "
            "it must be within 0 and 1 (a pixel of 255 is 1)"
        )
    if not np.all(np.isfinite(wanted)):
        raise UserError(f"guidance target '{source}': some sample has no valid pixel to measure")
    return np.clip(wanted, 0, 1).astype(np.float32)


def _require(source: str, what: str, *, given: bool, users: tuple[str, ...]) -> None:
    if given and source not in users:
        raise UserError(f"guidance target '{source}' has no use for {what}: leave it out")
    if not given and source in users:
        raise UserError(f"guidance target '{source}' needs {what}")


def _mean_of_known(intensity: np.ndarray) -> np.ndarray:
    """Mean over the frames ``[B, T, 1] -> [B]``, leaving out frames without a valid pixel."""
    known = np.isfinite(intensity[..., 0])
    total = np.where(known, intensity[..., 0], 0).sum(axis=1, dtype=np.float64)
    mean = np.full(total.shape, np.nan)
    return np.divide(total, known.sum(axis=1), out=mean, where=known.any(axis=1))


def _continued_trend(intensity: np.ndarray, lead_frames: int) -> np.ndarray:
    """Least-squares line through each sample's frame means, averaged over the lead times ``[B]``.

    The line is cut to [0, 1] at each lead time. One known frame alone is persisted.
    """
    time = np.arange(intensity.shape[1], dtype=np.float64)
    lead = intensity.shape[1] + np.arange(lead_frames, dtype=np.float64)
    wanted = np.full(len(intensity), np.nan)
    for sample, row in enumerate(intensity[..., 0].astype(np.float64)):
        known = np.isfinite(row)
        if known.any():
            line = np.polyfit(time[known], row[known], deg=min(1, known.sum() - 1))
            wanted[sample] = np.clip(np.polyval(line, lead), 0, 1).mean()
    return wanted
