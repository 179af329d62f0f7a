"""Who won: the first system against each other one, score by score, with significance.

A difference is significant where the bootstrap interval by event leaves 0 out. Scores whose best
value is in the middle, such as the frequency bias, have no winner by sign and are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from prediff.verification.headline import HIGHER, NEAR_ONE, Headline, headlines

Outcome = Literal["better", "worse", "tie", "undefined"]
ALL_LEAD_TIMES = "all"


@dataclass(frozen=True)
class Duel:
    """One score of two systems, at one lead time or all.

    Attributes:
        headline: the score.
        minutes: the lead time, or ``all``.
        outcome: of the first system.
        significant: whether the interval leaves no difference out.
        difference: first minus second.
    """

    headline: Headline
    minutes: float | str
    outcome: Outcome
    significant: bool
    difference: float | None


@dataclass(frozen=True)
class Verdict:
    """How the first system did against another one.

    Attributes:
        first, other: the systems.
        better, worse, tied: numbers of scores over all lead times.
        significantly_better, significantly_worse: those of them that the test set proves.
        crps_skill: 1 - CRPS / CRPS of the other; None where undefined.
    """

    first: str
    other: str
    better: int
    worse: int
    tied: int
    significantly_better: int
    significantly_worse: int
    crps_skill: float | None

    @property
    def sentence(self) -> str:
        """Say it with its worst side in front of nothing: wins, losses, and what is proven."""
        total = self.better + self.worse + self.tied
        skill = "" if self.crps_skill is None else f"; CRPS skill {self.crps_skill:+.3f}"
        return (
            f"{self.first} against {self.other}: better in {self.better} of {total} scores "
            f"({self.significantly_better} significantly), worse in {self.worse} "
            f"({self.significantly_worse} significantly){skill}."
        )


def duels(tables: dict[str, Any], *, other: str) -> Iterator[list[Duel]]:
    """Yield, score by score, the duels of the first system with another: all lead times, then each.

    Nothing is yielded where the two were not compared (fewer than two events).
    """
    first = next(iter(tables["systems"]))
    found = tables["comparisons"].get(f"{first} minus {other}", {})
    for headline in headlines(tables):
        entry: Any = found.get(headline.of, {})
        for key in headline.path:
            entry = entry.get(key, {})
        if not entry or headline.better == NEAR_ONE:
            continue
        row = [_duel(headline, ALL_LEAD_TIMES, entry["difference"], *entry["interval"])]
        lows, highs = entry["interval_by_lead_time"]
        row += [
            _duel(headline, minutes, difference, low, high)
            for minutes, difference, low, high in zip(
                tables["lead_minutes"], entry["by_lead_time"], lows, highs, strict=True
            )
        ]
        yield row


def verdict(tables: dict[str, Any], *, other: str) -> Verdict:
    """Count the duels over all lead times of the first system with another."""
    first = next(iter(tables["systems"]))
    overall = [row[0] for row in duels(tables, other=other)]

    def count(outcome: Outcome, *, significant: bool = False) -> int:
        return sum(d.outcome == outcome and (d.significant or not significant) for d in overall)

    return Verdict(
        first=first,
        other=other,
        better=count("better"),
        worse=count("worse"),
        tied=count("tie"),
        significantly_better=count("better", significant=True),
        significantly_worse=count("worse", significant=True),
        crps_skill=crps_skill(tables, system=first, reference=other),
    )


def crps_skill(tables: dict[str, Any], *, system: str, reference: str) -> float | None:
    """Return 1 - CRPS / CRPS of the reference; 1 is perfect, below 0 is worse than it."""
    crps = headlines(tables)[0]
    own, other = (crps.entry(tables, name)["overall"] for name in (system, reference))
    return None if own is None or not other else 1 - own / other


def _duel(
    headline: Headline,
    minutes: float | str,
    difference: float | None,
    low: float | None,
    high: float | None,
) -> Duel:
    outcome: Outcome
    if difference is None:
        outcome = "undefined"
    elif difference == 0:
        outcome = "tie"
    else:
        outcome = "better" if (difference > 0) == (headline.better == HIGHER) else "worse"
    significant = low is not None and high is not None and low * high > 0
    return Duel(headline, minutes, outcome, significant, difference)
