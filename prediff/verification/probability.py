"""Scores of the probability of reaching a threshold: Brier score, reliability, ROC.

M member, T lead time, H height, W width, K threshold, L lead time. The probability is the share of
members at or above the threshold. Pixels missing in the observation or in any member are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prediff.verification.case import ScoredCase
from prediff.verification.contingency import VIL_THRESHOLDS
from prediff.verification.ensemble import check_members
from prediff.verification.score import ENSEMBLE, Score, observed_throughout, ratio, with_mean
from prediff.verification.sums import Sums


@dataclass(frozen=True)
class ProbabilityFamily:
    """Brier score, its fair form and skill, and the reliability curve, by threshold.

    The fair Brier score (Ferro 2014) takes off ``p (1 - p) / (M - 1)``, so its expectation does not
    depend on the number of members; it is undefined for one member. The skill is against the event
    frequency of the test set itself, the strictest constant forecast.
    """

    members: int
    thresholds: tuple[float, ...] = VIL_THRESHOLDS
    name: str = "probability"

    def case_sums(self, case: ScoredCase) -> Sums:
        """Counts ``[K, T, M + 1, 2]``: pixels by number of members above, and by event seen."""
        check_members(case, self.members)
        times, levels = len(case.observation), self.members + 1
        lead = np.broadcast_to(np.arange(times)[:, None, None], case.observation.shape)
        chosen = slice(None) if case.complete else case.valid
        counts = np.empty((len(self.thresholds), times, levels, 2), np.int64)
        for number, threshold in enumerate(self.thresholds):
            above = np.count_nonzero(case.ensemble_scored >= threshold, axis=0)
            seen = case.observation_scored >= threshold
            flat = ((lead * levels + above) * 2 + seen)[chosen]
            counts[number] = np.bincount(flat.ravel(), minlength=times * levels * 2).reshape(
                times, levels, 2
            )
        return {"probability": counts}

    def scores(self, sums: Mapping[str, np.ndarray]) -> list[Score]:
        labels = {"threshold": (*(f"{threshold:g}" for threshold in self.thresholds), "mean")}
        counts = sums["probability"]
        by_lead_time = self._brier(counts)
        overall = self._brier(counts.sum(axis=-3))
        averaged = observed_throughout(counts[..., 1].sum(axis=-1), own_axes=2)
        return [
            Score(
                name=name,
                of=ENSEMBLE,
                labels=labels,
                overall=with_mean(overall[name], averaged=averaged, axis=-1),
                by_lead_time=with_mean(by_lead_time[name], averaged=averaged[..., None], axis=-2),
            )
            for name in overall
        ]

    def _brier(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Scores of ``[..., M + 1, 2]`` counts."""
        probability = np.arange(self.members + 1) / self.members
        not_seen, seen = counts[..., 0], counts[..., 1]
        pixels = counts.sum(axis=(-2, -1))
        squared = (not_seen * probability**2 + seen * (1 - probability) ** 2).sum(axis=-1)
        brier = ratio(squared, pixels)
        frequency = ratio(seen.sum(axis=-1), pixels)
        if self.members > 1:
            overlap = (counts.sum(axis=-1) * probability * (1 - probability)).sum(axis=-1)
            fair = brier - ratio(overlap, pixels) / (self.members - 1)
        else:
            fair = np.full_like(brier, np.nan)
        return {
            "brier_score": brier,
            "fair_brier_score": fair,
            "brier_skill_score": 1 - ratio(brier, frequency * (1 - frequency)),
        }

    def curves(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Reliability and ROC, by threshold.

        Reliability: forecast probability, observed frequency and pixels; with more than 10 members
        neighbouring probabilities share one of 11 bins. ROC: rates of hits and of false alarms of a
        warning at each number of members, from all of them to none, and the area below (Mason
        1982); 0.5 is no skill.
        """
        counts = sums["probability"].sum(axis=-3)
        probability = np.arange(self.members + 1) / self.members
        bins = np.rint(probability * min(self.members, 10)).astype(int)
        curves = {}
        for threshold, table in zip(self.thresholds, counts, strict=True):
            pixels = np.bincount(bins, weights=table.sum(axis=-1))
            curves[f"{threshold:g}"] = {
                "forecast_probability": ratio(
                    np.bincount(bins, weights=table.sum(axis=-1) * probability), pixels
                ).tolist(),
                "observed_frequency": ratio(
                    np.bincount(bins, weights=table[:, 1]), pixels
                ).tolist(),
                "pixels": pixels.tolist(),
                "event_frequency": float(ratio(table[:, 1].sum(), table.sum())),
            }
        roc = {
            f"{threshold:g}": _roc(table)
            for threshold, table in zip(self.thresholds, counts, strict=True)
        }
        return {"reliability": curves, "roc": roc}


def _roc(table: np.ndarray) -> dict[str, Any]:
    """Return the ROC of pixels ``[M + 1, 2]`` by number of members above, and by event seen."""
    warned = np.concatenate([np.zeros((1, 2)), table[::-1].cumsum(axis=0)])
    false_alarm, hit = (ratio(warned[:, seen], warned[-1, seen]) for seen in (0, 1))
    return {
        "hit_rate": hit.tolist(),
        "false_alarm_rate": false_alarm.tolist(),
        "area": float((np.diff(false_alarm) * (hit[1:] + hit[:-1]) / 2).sum()),
    }
