"""Scores of yes/no forecasts at thresholds, pooled and by lead time.

M member, T lead time, H height, W width, P pooling, K threshold, L lead time.

Rules of the reference (MODEL section 7), kept here: values times 255 are compared with ``>=``; a
pixel that is NaN in the forecast or in the observation counts as below the threshold in both;
pooled variants take the maximum of 4 x 4 or 16 x 16 pixels before counting.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from prediff.verification.case import ScoredCase, max_pool
from prediff.verification.score import (
    ENSEMBLE_MEAN,
    MEMBERS,
    Score,
    mean_of_defined,
    observed_throughout,
    ratio,
    with_mean,
)
from prediff.verification.sums import Sums

VIL_THRESHOLDS = (16, 74, 133, 160, 181, 219)
"""On SEVIR's 0-255 scale; about 0.15, 0.78, 3.5, 7.1, 12 and 32 kg/m2 of liquid water."""

POOLED = "pooled"
"""Counts of all lead times are added, then one score is formed (the reference's mode 0)."""
LEAD_TIME_MEAN = "lead_time_mean"
"""A score is formed at each lead time, then averaged (the reference's mode 2)."""

HITS, MISSES, FALSE_ALARMS, CORRECT_NEGATIVES = range(4)


def contingency_counts(
    *, forecast: np.ndarray, observation: np.ndarray, thresholds: tuple[float, ...]
) -> np.ndarray:
    """Return ``[K, ..., 4]`` int64: hits, misses, false alarms and correct negatives.

    Args:
        forecast: ``[..., H, W]`` on the scale of the thresholds; counts are taken over H and W.
        observation: broadcastable to the forecast.
        thresholds: a pixel is an event if its value is at or above the threshold.
    """
    observation = np.broadcast_to(observation, forecast.shape)
    missing = np.isnan(forecast) | np.isnan(observation)
    if missing.any():
        forecast = np.where(missing, -np.inf, forecast)
        observation = np.where(missing, -np.inf, observation)
    pixels = forecast.shape[-2] * forecast.shape[-1]
    counts = np.empty((len(thresholds), *forecast.shape[:-2], 4), np.int64)
    for number, threshold in enumerate(thresholds):
        said = forecast >= threshold
        seen = observation >= threshold
        hits = np.count_nonzero(said & seen, axis=(-2, -1))
        said, seen = (np.count_nonzero(field, axis=(-2, -1)) for field in (said, seen))
        counts[number] = np.stack(
            [hits, seen - hits, said - hits, pixels - seen - said + hits], axis=-1
        )
    return counts


def contingency_scores(counts: np.ndarray, *, epsilon: float = 0.0) -> dict[str, np.ndarray]:
    """Return the scores of ``counts [..., 4]`` (hits, misses, false alarms, correct negatives).

    Args:
        epsilon: added to the denominators; 1e-4 in the reference code, so that a score without
            any event is 0. With 0 it is NaN: undefined.

    ``reference_bias`` is what the reference code calls bias, ``(b / ln 2)**2`` with b the
    frequency bias. Its authors meant ``log2(b)**2``: a perfect forecast scores 2.0814, not 0. It
    is here to be compared with tables made by that code, and for nothing else.
    """
    counts = np.asarray(counts, np.float64)
    hits, misses, false_alarms, negatives = (counts[..., outcome] for outcome in range(4))
    observed, forecast = hits + misses, hits + false_alarms
    frequency_bias = ratio(forecast, observed + epsilon)
    return {
        "critical_success_index": ratio(hits, observed + false_alarms + epsilon),
        "probability_of_detection": ratio(hits, observed + epsilon),
        "success_ratio": ratio(hits, forecast + epsilon),
        "false_alarm_ratio": ratio(false_alarms, forecast + epsilon),
        "heidke_skill_score": ratio(
            2 * (hits * negatives - misses * false_alarms),
            observed * (misses + negatives) + forecast * (false_alarms + negatives) + epsilon,
        ),
        "frequency_bias": frequency_bias,
        "reference_bias": (frequency_bias / np.log(2)) ** 2,
    }


@dataclass(frozen=True)
class ContingencyFamily:
    """Contingency scores of the ensemble mean and of the members, ``[P, K, L]``.

    Args:
        counting: ``pooled`` or ``lead_time_mean``: how lead times become one number at pooling 1.
        pooled_counting: the same for the poolings above 1 (DiffCast's code treats them apart).
        undefined: the value of a score whose denominator is zero; NaN leaves it out of means.
        reference_scaling: scale as the reference code does, dividing by float32(1 / 255), which
            makes a pixel of exactly 219 fall below the threshold 219.
    """

    thresholds: tuple[float, ...] = VIL_THRESHOLDS
    poolings: tuple[int, ...] = (1, 4, 16)
    epsilon: float = 0.0
    counting: str = POOLED
    pooled_counting: str = POOLED
    undefined: float = np.nan
    reference_scaling: bool = False
    name: str = "contingency"

    def case_sums(self, case: ScoredCase) -> Sums:
        def scaled(values: np.ndarray, times_255: np.ndarray) -> np.ndarray:
            return values / np.float32(1 / 255) if self.reference_scaling else times_255

        observation = scaled(case.observation, case.observation_scored)

        def counts(forecast: np.ndarray) -> np.ndarray:
            return np.stack(
                [
                    contingency_counts(
                        forecast=max_pool(forecast, pooling),
                        observation=max_pool(observation, pooling),
                        thresholds=self.thresholds,
                    )
                    for pooling in self.poolings
                ]
            )

        members = counts(scaled(case.ensemble, case.ensemble_scored)).sum(axis=2)
        mean = members if case.members == 1 else counts(scaled(case.mean, case.mean_scored))
        return {f"contingency/{ENSEMBLE_MEAN}": mean, f"contingency/{MEMBERS}": members}

    def scores(self, sums: Mapping[str, np.ndarray]) -> list[Score]:
        labels = {
            "pooling": tuple(f"pool_{pooling}" for pooling in self.poolings),
            "threshold": (*(f"{threshold:g}" for threshold in self.thresholds), "mean"),
        }
        scores = []
        for of in (ENSEMBLE_MEAN, MEMBERS):
            counts = sums[f"contingency/{of}"]
            averaged = observed_throughout(
                counts[..., HITS] + counts[..., MISSES] + self._counts_without_events, own_axes=3
            )
            by_lead_time = self._defined(contingency_scores(counts, epsilon=self.epsilon))
            overall = self._defined(contingency_scores(counts.sum(axis=-2), epsilon=self.epsilon))
            for name, values in by_lead_time.items():
                rules = [
                    self.counting if pooling == 1 else self.pooled_counting
                    for pooling in self.poolings
                ]
                by_lead = np.array([rule == LEAD_TIME_MEAN for rule in rules])[:, None]
                chosen = np.where(by_lead, mean_of_defined(values, axis=-1), overall[name])
                scores.append(
                    Score(
                        name=name,
                        of=of,
                        labels=labels,
                        overall=with_mean(chosen, averaged=averaged, axis=-1),
                        by_lead_time=with_mean(values, averaged=averaged[..., None], axis=-2),
                    )
                )
        return scores

    @property
    def _counts_without_events(self) -> bool:
        """Scores without events have a value here, so means run over all thresholds."""
        return self.epsilon > 0 or not np.isnan(self.undefined)

    def _defined(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if np.isnan(self.undefined):
            return scores
        return {name: np.nan_to_num(values, nan=self.undefined) for name, values in scores.items()}

    def curves(self, sums: Mapping[str, np.ndarray]) -> dict:
        return {}
