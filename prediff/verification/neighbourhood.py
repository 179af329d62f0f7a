"""The fractions skill score: does the right amount of rain fall in the neighbourhood?

M member, T lead time, H height, W width, K threshold, S scale, L lead time.

Roberts & Lean 2008. A neighbourhood is a square of odd width; outside the frame nothing falls.
A pixel missing in the observation or in any member counts as below the threshold in all. All sums
are of integers (pixels above the threshold in the window), so they are exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc.errors import UserError
from prediff.verification.case import ScoredCase
from prediff.verification.contingency import VIL_THRESHOLDS
from prediff.verification.score import (
    ENSEMBLE,
    ENSEMBLE_MEAN,
    MEMBERS,
    Score,
    observed_throughout,
    ratio,
    with_mean,
)
from prediff.verification.sums import Sums


def window_counts(events: np.ndarray, scales: tuple[int, ...]) -> list[np.ndarray]:
    """Return, for each scale, the events ``[m, H, W]`` in the window around each pixel.

    The counts are float64 (whole numbers), ready to be multiplied and added without loss.
    """
    widest = max(scales) // 2
    height, width = events.shape[-2:]
    padded = np.pad(events, [(0, 0), (widest + 1, widest), (widest + 1, widest)])
    total = padded.cumsum(axis=-1, dtype=np.int32)
    np.cumsum(total, axis=-2, out=total)
    counts = []
    for scale in scales:
        if scale == 1:
            counts.append(events.astype(np.float64))
            continue
        first = widest - scale // 2
        last = first + scale
        rows = total[:, last : last + height] - total[:, first : first + height]
        window = rows[..., last : last + width] - rows[..., first : first + width]
        counts.append(window.astype(np.float64))
    return counts


@dataclass(frozen=True)
class NeighbourhoodFamily:
    """Fractions skill score by threshold and scale, ``[K, S, L]``; 1 is perfect.

    ``ensemble`` compares the share of members and pixels above the threshold in the window (the
    neighbourhood ensemble probability, Schwartz et al. 2010) with the observed share.

    Raises:
        UserError: a scale that is not an odd positive number of pixels.
    """

    thresholds: tuple[float, ...] = VIL_THRESHOLDS
    scales: tuple[int, ...] = (1, 5, 17, 33)
    name: str = "neighbourhood"

    def __post_init__(self) -> None:
        for scale in self.scales:
            if scale < 1 or scale % 2 == 0:
                raise UserError(f"a neighbourhood is an odd number of pixels wide, not {scale}")

    def case_sums(self, case: ScoredCase) -> Sums:
        """Sums ``[K, S, 3, T]``: squared difference, squared forecast, squared observation."""
        shape = (len(self.thresholds), len(self.scales), 3, len(case.observation))
        sums = {of: np.empty(shape, np.int64) for of in (ENSEMBLE_MEAN, MEMBERS, ENSEMBLE)}
        members = case.members
        for time, valid in enumerate(case.valid):
            fields = np.stack(
                [
                    case.observation_scored[time],
                    case.mean_scored[time],
                    *case.ensemble_scored[:, time],
                ]
            )
            for number, threshold in enumerate(self.thresholds):
                counts = window_counts((fields >= threshold) & valid, self.scales)
                for scale, windows in enumerate(counts):
                    flat = windows.reshape(members + 2, -1).astype(np.int64, copy=False)
                    radar, mean, together = flat[0], flat[1], flat[2:].sum(axis=0)
                    alone = np.einsum("mp,mp->", flat[2:], flat[2:])
                    of_radar, with_radar = radar @ radar, together @ radar
                    for of, forecast, cross, weight in (
                        (ENSEMBLE_MEAN, mean @ mean, mean @ radar, 1),
                        (MEMBERS, alone, with_radar, members),
                        (ENSEMBLE, together @ together, members * with_radar, members**2),
                    ):
                        reference = weight * of_radar
                        difference = forecast - 2 * cross + reference
                        sums[of][number, scale, :, time] = difference, forecast, reference
        return {f"neighbourhood/{of}": values for of, values in sums.items()}

    def scores(self, sums: Mapping[str, np.ndarray]) -> list[Score]:
        labels = {
            "threshold": (*(f"{threshold:g}" for threshold in self.thresholds), "mean"),
            "scale": tuple(f"scale_{scale}" for scale in self.scales),
        }
        scores = []
        for of in (ENSEMBLE_MEAN, MEMBERS, ENSEMBLE):
            difference, of_forecast, of_radar = np.moveaxis(sums[f"neighbourhood/{of}"], -2, 0)
            reference = of_forecast + of_radar
            averaged = observed_throughout(of_radar, own_axes=3)
            overall = 1 - ratio(difference.sum(axis=-1), reference.sum(axis=-1))
            by_lead_time = 1 - ratio(difference, reference)
            scores.append(
                Score(
                    name="fractions_skill_score",
                    of=of,
                    labels=labels,
                    overall=with_mean(overall, averaged=averaged, axis=-2),
                    by_lead_time=with_mean(by_lead_time, averaged=averaged[..., None], axis=-3),
                )
            )
        return scores

    def curves(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {}
