"""The continuous ranked probability score of an ensemble, three ways.

M member; other axes are free. All functions work pixel by pixel.
"""

import numpy as np
from scipy.special import ndtr


def crps_terms(ensemble: np.ndarray, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``E|X - y|`` and ``E|X - X'|`` over all pairs of members, ``[...]`` float64.

    Args:
        ensemble: ``[M, ...]``.
        observation: ``[...]``.

    The plain score is ``first - second / 2`` (Gneiting & Raftery 2007, eq. 21): it treats the
    members as the whole distribution. The fair score multiplies `second` by ``M / (M - 1)`` (Ferro
    2014), so its expectation does not depend on the number of members.
    """
    members = len(ensemble)
    absolute = np.abs(ensemble.astype(np.float64) - observation).mean(axis=0)
    ranks = np.arange(members)
    weights = 2.0 * (2 * ranks + 1 - members) / members**2
    dispersion = np.tensordot(weights, np.sort(ensemble, axis=0).astype(np.float64), axes=1)
    return absolute, dispersion


def plain_crps(ensemble: np.ndarray, observation: np.ndarray) -> np.ndarray:
    """Return the score of the empirical distribution; one member gives the absolute error."""
    absolute, dispersion = crps_terms(ensemble, observation)
    return absolute - dispersion / 2


def fair_crps(ensemble: np.ndarray, observation: np.ndarray) -> np.ndarray:
    """Return the fair score; NaN for one member, which says nothing of a distribution."""
    members = len(ensemble)
    absolute, dispersion = crps_terms(ensemble, observation)
    if members == 1:
        return np.full_like(absolute, np.nan)
    return absolute - dispersion / 2 * members / (members - 1)


def gaussian_crps(ensemble: np.ndarray, observation: np.ndarray) -> np.ndarray:
    """Return the score of the normal distribution with the members' mean and deviation.

    This is what the published code of CasCast computes (deviation with M - 1; 1e-10 added to it
    and to the difference), not the score of the ensemble. Rain is not normal: it is here only to
    be compared with tables made by that code.
    """
    ensemble = ensemble.astype(np.float64)
    deviation = ensemble.std(axis=0, ddof=1) if len(ensemble) > 1 else np.zeros(ensemble.shape[1:])
    deviation = deviation + 1e-10
    z = (ensemble.mean(axis=0) - observation + 1e-10) / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return deviation * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
