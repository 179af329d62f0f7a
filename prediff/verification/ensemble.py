"""Scores of the ensemble as a distribution: CRPS, spread against skill, rank histogram.

M member, T lead time, H height, W width, P pooling, L lead time. Pixels that are missing in the
observation or in any member are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc.errors import UserError
from prediff.verification.case import VIL_SCALE, ScoredCase, max_pool, mean_pool
from prediff.verification.crps import crps_terms, gaussian_crps
from prediff.verification.score import ENSEMBLE, Score, ratio
from prediff.verification.sums import Sums, exactly_summable

PLAIN_CRPS = "continuous_ranked_probability_score"
FAIR_CRPS = "fair_continuous_ranked_probability_score"
GAUSSIAN_CRPS = "gaussian_continuous_ranked_probability_score"


def check_members(case: ScoredCase, members: int) -> None:
    """Raise UserError unless the case has as many members as the sums are made for."""
    if case.members != members:
        raise UserError(
            f"a forecast of {case.members} members came to scores of {members} members; every "
            "case of a system needs the same number"
        )


@dataclass(frozen=True)
class CrpsFamily:
    """Plain, fair and Gaussian CRPS of single pixels and of pooled fields, ``[P, L]``.

    One member has no fair score: its place is taken by the plain one, which is then the mean
    absolute error (a scoreboard says so beside it).

    Pooling first is a score of amounts in a neighbourhood: the mean asks for the water that falls
    there, the maximum for the worst that happens there (Ravuri et al. 2021).
    """

    poolings: tuple[int, ...] = (1, 4, 16)
    name: str = "crps"

    @property
    def labels(self) -> tuple[str, ...]:
        wide = [pooling for pooling in self.poolings if pooling > 1]
        return (
            *(("pool_1",) if 1 in self.poolings else ()),
            *(f"max_pool_{pooling}" for pooling in wide),
            *(f"mean_pool_{pooling}" for pooling in wide),
        )

    def case_sums(self, case: ScoredCase) -> Sums:
        """Sums ``[P, 4, T]``: plain, fair and Gaussian score, pixels."""
        fair_factor = case.members / max(case.members - 1, 1)
        rows = []
        for label in self.labels:
            pool = max_pool if label.startswith("max") else mean_pool
            size = int(label.rpartition("_")[2])
            ensemble, observation = pool(case.ensemble, size), pool(case.observation, size)
            absolute, dispersion = crps_terms(ensemble, observation)
            valid = np.isfinite(absolute)
            terms = [
                absolute - dispersion / 2,
                absolute - dispersion / 2 * fair_factor,
                gaussian_crps(ensemble, observation),
            ]
            if not valid.all():
                terms = [np.where(valid, term, 0.0) for term in terms]
            sums = [term.sum(axis=(-2, -1)) for term in terms]
            rows.append([*sums, np.count_nonzero(valid, axis=(-2, -1))])
        return {"crps": exactly_summable(np.array(rows))}

    def scores(self, sums: Mapping[str, np.ndarray]) -> list[Score]:
        *totals, pixels = np.moveaxis(sums["crps"], -2, 0)
        return [
            Score(
                name=name,
                of=ENSEMBLE,
                labels={"pooling": self.labels},
                overall=ratio(total.sum(axis=-1), pixels.sum(axis=-1)),
                by_lead_time=ratio(total, pixels),
            )
            for name, total in zip((PLAIN_CRPS, FAIR_CRPS, GAUSSIAN_CRPS), totals, strict=True)
        ]

    def curves(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class SpreadSkillFamily:
    """Spread of the members against the error of their mean.

    ``spread`` is the root of the mean variance (with M - 1), ``skill`` the root mean squared error
    of the ensemble mean, and ``spread_skill_ratio`` is ``sqrt((M + 1) / M) * spread / skill``: 1
    if truth and members are alike (Fortin et al. 2014), below 1 if the ensemble is overconfident.
    One member has no spread: all but the skill is undefined.
    """

    name: str = "spread_skill"

    def case_sums(self, case: ScoredCase) -> Sums:
        """Sums ``[5, T]``: variance, (M + 1) / M times it, pixels; squared error, pixels."""
        members = case.members
        ensemble = case.ensemble.astype(np.float64)
        mean = ensemble.mean(axis=0)
        squared = (mean - case.observation) ** 2
        deviation = ensemble - mean
        variance = np.einsum("mthw,mthw->thw", deviation, deviation) / max(members - 1, 1)
        if not case.complete:
            variance, squared = (np.where(case.valid, term, 0.0) for term in (variance, squared))
        variance, squared = (term.sum(axis=(-2, -1)) for term in (variance, squared))
        pixels = np.count_nonzero(case.valid, axis=(-2, -1))
        with_spread = pixels * (members > 1)
        rows = [variance, variance * (members + 1) / members, with_spread, squared, pixels]
        return {"spread_skill": exactly_summable(np.stack(rows))}

    def scores(self, sums: Mapping[str, np.ndarray]) -> list[Score]:
        by_lead_time = self._terms(sums["spread_skill"])
        overall = self._terms(sums["spread_skill"].sum(axis=-1, keepdims=True))
        return [
            Score(name=name, of=ENSEMBLE, labels={}, overall=total[..., 0], by_lead_time=lead)
            for name, total, lead in zip(
                ("spread", "skill", "spread_skill_ratio"), overall, by_lead_time, strict=True
            )
        ]

    def _terms(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        variance, corrected, with_spread, squared, pixels = np.moveaxis(sums, -2, 0)
        spread = np.sqrt(ratio(variance, with_spread))
        skill = np.sqrt(ratio(squared, pixels))
        return spread, skill, ratio(np.sqrt(ratio(corrected, with_spread)), skill)

    def curves(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class RankHistogramFamily:
    """Where the observation falls among the sorted members, 0 (below all) to M (above all).

    A tie with k members is split evenly over the k + 1 ranks it could take, which is the
    expectation of breaking it at random. Most radar pixels are dry in every member and in truth,
    and such ties fill the histogram evenly, so ``rain`` counts only pixels where the observation
    or a member reaches `rain_threshold`; that choice treats truth and members alike, so a good
    ensemble is still flat.
    """

    members: int
    rain_threshold: float | None = None
    name: str = "rank_histogram"

    def case_sums(self, case: ScoredCase) -> Sums:
        """Sums ``[2, T, M + 1]``: all pixels, and those with rain."""
        check_members(case, self.members)
        below = np.zeros(case.observation.shape, np.int64)
        ties = np.zeros_like(below)
        for member in case.ensemble:
            below += member < case.observation
            ties += member == case.observation
        highest = np.maximum(case.observation, case.ensemble.max(axis=0))
        threshold = self.rain_threshold
        if threshold is None:
            threshold = case.quantity.threshold_code(case.quantity.rain_threshold)
        rain = case.valid & (highest * VIL_SCALE >= threshold)
        return {
            "rank_histogram": np.stack(
                [self._histogram(below, ties, chosen) for chosen in (case.valid, rain)]
            )
        }

    def _histogram(self, below: np.ndarray, ties: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return ``[T, M + 1]`` from ``[T, H, W]`` numbers of members below and tied."""
        times, ends = len(below), self.members + 2
        lead = np.broadcast_to(np.arange(times)[:, None, None], below.shape)
        first = lead[chosen] * ends + below[chosen]
        tied = ties[chosen]
        share = 1.0 / (tied + 1)  # of each rank from `below` to `below + tied`
        steps = np.bincount(first, share, times * ends)
        steps -= np.bincount(first + tied + 1, share, times * ends)
        return exactly_summable(steps.reshape(times, ends).cumsum(axis=-1)[:, :-1])

    def scores(self, sums: Mapping[str, np.ndarray]) -> list[Score]:
        """``rank_histogram_distance``: half the summed distance to flat, 0 (flat) to about 1."""
        histogram = sums["rank_histogram"]

        def distance(counts: np.ndarray) -> np.ndarray:
            share = ratio(counts, counts.sum(axis=-1, keepdims=True))
            return 0.5 * np.abs(share - 1 / counts.shape[-1]).sum(axis=-1)

        return [
            Score(
                name="rank_histogram_distance",
                of=ENSEMBLE,
                labels={"pixels": ("all", "rain")},
                overall=distance(histogram.sum(axis=-2)),
                by_lead_time=distance(histogram),
            )
        ]

    def curves(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        histogram = sums["rank_histogram"]
        return {
            "rank_histogram": {
                label: {
                    "share": ratio(counts.sum(axis=0), counts.sum()).tolist(),
                    "pixels": float(counts.sum()),
                }
                for label, counts in zip(("all", "rain"), histogram, strict=True)
            }
        }
