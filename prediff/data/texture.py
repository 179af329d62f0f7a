"""A random field that drifts and renews itself, scale by scale: the texture of stratiform rain.

Source: the STEPS scheme of Bowler, Pierce and Seed 2006: every scale is an autoregressive
process in the coordinates of the moving air, and small scales live shorter than large ones.
Legend: H and W pixels (y, x), P pixels of the periodic field's side.
"""

import numpy as np
from scipy.ndimage import map_coordinates

PERIOD = 2
"""The field repeats after this many domains, so that what drifts in is new."""

_LIFE_OF_10_KM = 32.0  # minutes; life grows as wavelength ** 0.8
_LONGEST_KM = 300.0
_FINEST_CYCLES = 0.33  # cycles a pixel


class RenewingTexture:
    """A Gaussian field of mean 0 and variance 1 with power ~ wavenumber ** -slope.

    Args:
        generator: source of all draws.
        size: pixels of the domain's side.
        pixel_km: length of a pixel's side.
        minutes: time between two states.
        slope: of the isotropic power spectrum per mode; larger is smoother.
    """

    def __init__(
        self,
        generator: np.random.Generator,
        *,
        size: int,
        pixel_km: float,
        minutes: float,
        slope: float,
    ):
        self._generator = generator
        self._side = PERIOD * size
        self._pixel_km = pixel_km
        ky = np.fft.fftfreq(self._side)[:, None]
        kx = np.fft.rfftfreq(self._side)[None, :]
        cycles = np.hypot(ky, kx)
        wavelength = pixel_km / np.maximum(cycles, 1e-9)
        amplitude = (cycles + 1 / self._side) ** (-slope / 2)
        amplitude *= np.exp(-((cycles / _FINEST_CYCLES) ** 4)) * (wavelength < _LONGEST_KM)
        both_halves = np.where((kx == 0) | (kx == 0.5), 1, 2)
        amplitude *= self._side / np.sqrt((both_halves * amplitude**2).sum())
        # Coefficients of the cubic spline through the field, so that sampling needs no filter.
        self._to_spline = amplitude / (
            (2 + np.cos(2 * np.pi * ky)) / 3 * (2 + np.cos(2 * np.pi * kx)) / 3
        )
        life = np.clip(_LIFE_OF_10_KM * (wavelength / 10) ** 0.8, 8, 600)
        self._memory = np.exp(-minutes / life)
        self._state = self._noise()

    def _noise(self) -> np.ndarray:
        white = self._generator.standard_normal((self._side, self._side), dtype=np.float32)
        return np.fft.rfft2(white)

    def advance(self) -> None:
        """Move on by one time step."""
        renewal = np.sqrt(1 - self._memory**2)
        self._state = self._memory * self._state + renewal * self._noise()

    def sample(self, points_km: np.ndarray) -> np.ndarray:
        """Return the field ``[H, W]`` at points ``[H, W, 2]`` (y, x from the centre)."""
        spline = np.fft.irfft2(self._state * self._to_spline, s=(self._side, self._side))
        where = np.moveaxis(points_km / self._pixel_km, -1, 0) + self._side / 2
        return map_coordinates(spline, where, order=3, mode="grid-wrap", prefilter=False)
