"""Errors of values: mean squared, mean absolute and mean error, structural similarity.

M member, T lead time, H height, W width. Errors are in units of VIL / 255. Pixels that are missing
in the observation or in any member are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from prediff.verification.case import ScoredCase
from prediff.verification.score import ENSEMBLE_MEAN, MEMBERS, Score, ratio
from prediff.verification.structural_similarity import (
    SMALLEST_FRAME,
    FrameStatistics,
    structural_similarity,
)
from prediff.verification.sums import Sums, exactly_summable


@dataclass(frozen=True)
class ContinuousFamily:
    """Errors of the ensemble mean and of the members; the members' errors are pooled.

    Structural similarity is a mean over frames; it is undefined for frames below 6 x 6.
    """

    name: str = "continuous"

    def case_sums(self, case: ScoredCase) -> Sums:
        sums = {"continuous/pixels": np.count_nonzero(case.valid, axis=(-2, -1))}
        large_enough = min(case.observation.shape[-2:]) >= SMALLEST_FRAME
        observed = FrameStatistics(case.observation) if large_enough else None
        forecasts = {ENSEMBLE_MEAN: case.mean[None], MEMBERS: case.ensemble}
        for of, forecast in forecasts.items():
            sums[f"continuous/{of}"] = self._errors(case, forecast)
            sums[f"continuous/similarity/{of}"] = self._similarity(forecast, observed)
        return sums

    def _errors(self, case: ScoredCase, forecast: np.ndarray) -> np.ndarray:
        """Return ``[3, T]``: squared, absolute and signed error, averaged over members."""
        error = forecast.astype(np.float64) - case.observation
        if not case.complete:
            error = np.where(case.valid, error, 0.0)
        per_frame = np.stack(
            [
                np.einsum("mthw,mthw->t", error, error),
                np.abs(error).sum(axis=(0, 2, 3)),
                error.sum(axis=(0, 2, 3)),
            ]
        )
        return exactly_summable(per_frame / len(forecast))

    def _similarity(self, forecast: np.ndarray, observed: FrameStatistics | None) -> np.ndarray:
        """Return ``[2, T]``: similarity summed over members, and the number of frames."""
        if observed is None:
            return np.zeros((2, forecast.shape[1]))
        values = structural_similarity(forecast, observed)
        defined = np.isfinite(values)
        return exactly_summable(
            np.stack([np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0)])
        )

    def scores(self, sums: Mapping[str, np.ndarray]) -> list[Score]:
        names = ("mean_squared_error", "mean_absolute_error", "mean_error")
        pixels = sums["continuous/pixels"]
        scores = []
        for of in (ENSEMBLE_MEAN, MEMBERS):
            errors = sums[f"continuous/{of}"]
            for number, name in enumerate(names):
                error = errors[..., number, :]
                scores.append(
                    Score(
                        name=name,
                        of=of,
                        labels={},
                        overall=ratio(error.sum(axis=-1), pixels.sum(axis=-1)),
                        by_lead_time=ratio(error, pixels),
                    )
                )
            similarity = sums[f"continuous/similarity/{of}"]
            value, frames = similarity[..., 0, :], similarity[..., 1, :]
            scores.append(
                Score(
                    name="structural_similarity",
                    of=of,
                    labels={},
                    overall=ratio(value.sum(axis=-1), frames.sum(axis=-1)),
                    by_lead_time=ratio(value, frames),
                )
            )
        return scores

    def curves(self, sums: Mapping[str, np.ndarray]) -> dict:
        return {}
