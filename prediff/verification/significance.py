"""Is the difference real? Bootstrap intervals and a paired test, by event.

Events are resampled, never frames or windows: windows of one event overlap and share one storm.
E event, R replicate.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hpc.errors import UserError
from hpc.randomness import keyed_generator
from prediff.verification.score import ENSEMBLE_MEAN, ScoreFamily
from prediff.verification.sums import EventSums, Sums, same_events, sums_of, weighted_sums


@dataclass(frozen=True)
class Interval:
    """Percentile bounds of a score, shaped as the score's ``overall`` and ``by_lead_time``."""

    overall: tuple[np.ndarray, np.ndarray]
    by_lead_time: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """First minus second system, with an interval and a p-value (of no difference)."""

    name: str
    of: str
    labels: Mapping[str, tuple[str, ...]]
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray
    by_lead_time: tuple[np.ndarray, np.ndarray, np.ndarray]
    """Difference, low and high at each lead time, the last axis."""


def bootstrap_weights(*, events: int, replicates: int, seed: int) -> np.ndarray:
    """Return ``[R, E]``: how often each event is drawn, E draws with replacement a replicate."""
    generator = keyed_generator(seed=seed, stream="bootstrap", sample=events)
    return generator.multinomial(events, np.full(events, 1 / events), size=replicates)


def bounds(values: np.ndarray, *, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval over axis 0, NaN where any replicate is undefined.

    (A score that some resampled test sets do not define has no honest interval.)
    """
    tail = (1 - level) / 2
    low, high = np.quantile(values, (tail, 1 - tail), axis=0)
    return low, high


def bootstrap_intervals(
    *, rows: Sums, family: ScoreFamily, replicates: int, seed: int, level: float
) -> list[Interval]:
    """Return one interval for each score of the family, in its order.

    With fewer than two events there is nothing to resample and every bound is NaN.
    """
    events = len(next(iter(rows.values())))
    weights = bootstrap_weights(events=events, replicates=replicates, seed=seed)
    if events < 2:
        weights = weights * np.nan
    return [
        Interval(
            overall=bounds(score.overall, level=level),
            by_lead_time=bounds(score.by_lead_time, level=level),
        )
        for score in family.scores(weighted_sums(sums_of(rows, family.name), weights))
    ]


def paired_comparison(
    *,
    first: EventSums,
    second: EventSums,
    family: ScoreFamily,
    names: tuple[str, str] = ("first", "second"),
    same_members: bool = True,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Comparison]:
    """Compare two systems scored on the same cases, score by score (over all lead times).

    The interval resamples the same events for both. The p-value is of a permutation test: under no
    difference each event's two forecasts could be swapped; it is the share of random swaps that
    differ at least as much as what was found (two-sided; the found one is counted too). It holds
    for scores that are not means over events, such as CSI.

    Args:
        same_members: the ensembles are of one size. If not, scores that pool over members cannot
            be swapped: their p-value is NaN and the interval speaks alone.

    Raises:
        UserError: the systems were scored on different cases, or on fewer than two events.
    """
    same_events(first, second, names=names)
    rows = [sums_of(system.rows(), family.name) for system in (first, second)]
    events = len(first.events)
    if events < 2:
        raise UserError("a paired test needs at least two events; the test set has one")

    Differences = list[tuple[np.ndarray, np.ndarray]]

    def difference(weights: np.ndarray, other: np.ndarray | None = None) -> Differences:
        """First minus second; with `other`, each event's weight is split between the two."""
        sums = [weighted_sums(of, weights) for of in rows]
        if other is not None:
            crossed = [weighted_sums(of, other) for of in reversed(rows)]
            sums = [
                {name: kept[name] + swapped[name] for name in kept}
                for kept, swapped in zip(sums, crossed, strict=True)
            ]
        scores = [family.scores(each) for each in sums]
        return [
            (a.overall - b.overall, a.by_lead_time - b.by_lead_time)
            for a, b in zip(*scores, strict=True)
        ]

    found = difference(np.ones((1, events)))
    resampled = difference(bootstrap_weights(events=events, replicates=replicates, seed=seed))
    generator = keyed_generator(seed=seed, stream="permutation", sample=events)
    kept = generator.integers(0, 2, size=(replicates, events))
    permuted = difference(kept, 1 - kept)
    comparisons = []
    for score, (value, lead), (sample, lead_sample), (swapped, _) in zip(
        family.scores(first.totals()), found, resampled, permuted, strict=True
    ):
        low, high = bounds(sample, level=level)
        as_large = (np.abs(swapped) >= np.abs(value) * (1 - 1e-12)).sum(axis=0)
        undefined = np.isnan(value[0]) | np.isnan(swapped).any(axis=0)
        exchangeable = same_members or score.of == ENSEMBLE_MEAN or family.name == "crps"
        p_value = (1 + as_large) / (1 + replicates)
        p_value = np.where(undefined | (not exchangeable), np.nan, p_value)
        comparisons.append(
            Comparison(
                name=score.name,
                of=score.of,
                labels=score.labels,
                difference=value[0],
                low=low,
                high=high,
                p_value=p_value,
                by_lead_time=(lead[0], *bounds(lead_sample, level=level)),
            )
        )
    return comparisons
