"""Radially averaged power spectra: is the forecast as sharp as the rain it forecasts?

T lead time, H height, W width, R wavenumber (in cycles over the longer side).

Power is ``|FFT|**2 / (H W)``, averaged over rings of rounded wavenumber, as in pysteps. Frames with
a missing pixel are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import fft, sparse

from prediff.verification.case import ScoredCase
from prediff.verification.score import ENSEMBLE_MEAN, MEMBERS, Score, ratio
from prediff.verification.sums import Sums, exactly_summable

OBSERVATION = "observation"


@lru_cache(maxsize=8)
def _rings(height: int, width: int) -> sparse.csr_matrix:
    """Return ``[R, H * (W // 2 + 1)]``: the mean over each ring of the half plane of rfft2."""
    longer = max(height, width)
    rings = longer // 2 + longer % 2
    rows = np.fft.fftfreq(height, 1 / height)
    columns = np.arange(width // 2 + 1)
    ring = np.rint(np.hypot(rows[:, None], columns)).astype(int)
    twice = (columns > 0) & ~((columns == width // 2) & (width % 2 == 0))
    weight = np.broadcast_to(1 + twice, ring.shape)
    # fftfreq puts the middle wavenumber of an even side at -n/2 only, as a full plane does.
    inside = (ring < rings).ravel()
    matrix = sparse.csr_matrix(
        (weight.ravel()[inside], (ring.ravel()[inside], np.flatnonzero(inside))),
        shape=(rings, ring.size),
        dtype=np.float64,
    )
    return sparse.diags(1 / np.maximum(matrix.sum(axis=1).A1, 1)) @ matrix


def radial_power(frames: np.ndarray) -> np.ndarray:
    """Return the power ``[..., R]`` of frames ``[..., H, W]``, R from 0 to below longer / 2."""
    *leading, height, width = frames.shape
    power = np.abs(fft.rfft2(np.asarray(frames, np.float64))) ** 2 / (height * width)
    rings = _rings(height, width)
    return (rings @ power.reshape(-1, rings.shape[1]).T).T.reshape(*leading, rings.shape[0])


@dataclass(frozen=True)
class SpectraFamily:
    """Power of members, ensemble mean and observation; and its ratio at small scales.

    ``small_scale_power_ratio`` is forecast power over observed power at wavelengths below
    `small_scale` pixels: 1 is as sharp as the radar, below 1 is blur, above 1 is noise.
    """

    small_scale: float = 8.0
    name: str = "spectra"

    def case_sums(self, case: ScoredCase) -> Sums:
        """Sums ``[3, T, R + 1]``: power over frames, and the number of frames last."""
        whole = case.valid.all(axis=(-2, -1))
        forecasts = {
            OBSERVATION: case.observation[None],
            ENSEMBLE_MEAN: case.mean[None],
            MEMBERS: case.ensemble,
        }
        rows = []
        for frames in forecasts.values():
            power = radial_power(np.where(whole[:, None, None], frames, 0.0)).mean(axis=0)
            # Relative to the frame's size the powers of all rings stay below 1.
            normed = power / (frames.shape[-2] * frames.shape[-1])
            rows.append(np.concatenate([normed * whole[:, None], whole[:, None]], axis=-1))
        return {
            "spectra": exactly_summable(np.stack(rows), bits=44),
            "spectra/frame": np.array([*case.observation.shape[-2:], 1]),
        }

    def scores(self, sums: Mapping[str, np.ndarray]) -> list[Score]:
        table = sums["spectra"]
        rings = table.shape[-1] - 1
        height, width, cases = np.moveaxis(sums["spectra/frame"], -1, 0)
        longer = np.max(np.maximum(height, width) / cases)
        wavenumber = np.arange(rings)
        small = wavenumber * self.small_scale > longer
        power = (table[..., :-1] * small * np.maximum(wavenumber, 1)).sum(axis=-1)
        observed = power[..., 0, :]
        return [
            Score(
                name="small_scale_power_ratio",
                of=of,
                labels={},
                overall=ratio(power[..., number, :].sum(axis=-1), observed.sum(axis=-1)),
                by_lead_time=ratio(power[..., number, :], observed),
            )
            for number, of in ((1, ENSEMBLE_MEAN), (2, MEMBERS))
        ]

    def curves(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Mean power by wavelength (pixels), over all lead times and at the last one."""
        table = sums["spectra"]
        height, width, cases = sums["spectra/frame"]
        longer = max(height, width) / cases
        pixels = height * width / cases**2
        power = ratio(table[..., :-1], table[..., -1:]) * pixels
        total = ratio(table[..., :-1].sum(axis=1), table[..., -1:].sum(axis=1)) * pixels
        names = (OBSERVATION, ENSEMBLE_MEAN, MEMBERS)
        return {
            "spectra": {
                "wavelength_pixels": (longer / np.arange(1, power.shape[-1])).tolist(),
                "all_lead_times": dict(zip(names, total[:, 1:].tolist(), strict=True)),
                "last_lead_time": dict(zip(names, power[:, -1, 1:].tolist(), strict=True)),
            }
        }
