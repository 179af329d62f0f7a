"""What a family of scores is: sums of one case, and scores as a function of summed sums."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from prediff.verification.case import ScoredCase
from prediff.verification.sums import Sums

MEMBERS = "members"
"""Every member scored as a forecast of its own, the counts and errors pooled over members."""
ENSEMBLE_MEAN = "ensemble_mean"
"""The mean of the members, scored as one forecast."""
ENSEMBLE = "ensemble"
"""The members together, as a probability distribution."""


@dataclass(frozen=True)
class Score:
    """One named score in all its breakdowns.

    ``overall`` is ``[..., *labels]`` and ``by_lead_time`` is ``[..., *labels, lead time]``; the
    leading axes are bootstrap replicates, if any. NaN means undefined (say, no event observed).
    """

    name: str
    of: str
    labels: Mapping[str, tuple[str, ...]]
    overall: np.ndarray
    by_lead_time: np.ndarray


class ScoreFamily(Protocol):
    """Scores that share their sums, whose keys are the family's name or start with ``name/``.

    ``scores`` accepts sums with leading replicate axes; ``curves`` (reliability, histograms,
    spectra) takes totals and returns JSON-able values.
    """

    @property
    def name(self) -> str: ...

    def case_sums(self, case: ScoredCase) -> Sums: ...

    def scores(self, sums: Mapping[str, np.ndarray]) -> list[Score]: ...

    def curves(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]: ...


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient, NaN where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def mean_of_defined(values: np.ndarray, *, axis: int) -> np.ndarray:
    """Return the mean over the values that are not NaN; NaN where none is."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0).sum(axis=axis), defined.sum(axis=axis))


def observed_throughout(observed: np.ndarray, *, own_axes: int) -> np.ndarray:
    """Return which thresholds are worth averaging: seen in the radar at every lead time.

    It depends on the observations alone, so it is the same for all systems. `observed` ``[...,
    labels..., lead time]`` counts observed events; axes before the last `own_axes` are replicates,
    which all get the choice of the whole test set (every event is in some replicate).
    """
    replicates = tuple(range(observed.ndim - own_axes))
    return (observed > 0).any(axis=replicates).all(axis=-1)


def with_mean(values: np.ndarray, *, averaged: np.ndarray, axis: int) -> np.ndarray:
    """Append the mean over the thresholds in `averaged`; NaN if one of them is undefined.

    A bootstrap replicate that misses the only events of a threshold so has no mean: it must not be
    compared with one that has them.
    """
    mean = ratio(np.where(averaged, values, 0).sum(axis=axis), averaged.sum(axis=axis))
    return np.concatenate([values, np.expand_dims(mean, axis)], axis=axis)
