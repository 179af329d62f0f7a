"""All scores of one test set, for several systems on the same cases, streaming.

B case, M member, T lead time, H height, W width.

    board = Scoreboard(lead_minutes=(10, 20, 30))
    board.update(
        forecasts={"model": ensemble, "persistence": last_frame},   # [B, M, T, H, W] in [0, 1]
        observation=truth,                                          # [B, T, H, W] in [0, 1]
        event_ids=["R19", "R20"],
    )
    tables = board.tables()
    write_scores(tables, "runs/x/scores")
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hpc.errors import UserError
from prediff.data.quantity import VIL, quantity_named
from prediff.verification.case import ScoredCase
from prediff.verification.contingency import ContingencyFamily
from prediff.verification.continuous import ContinuousFamily
from prediff.verification.ensemble import (
    FAIR_CRPS,
    CrpsFamily,
    RankHistogramFamily,
    SpreadSkillFamily,
)
from prediff.verification.neighbourhood import NeighbourhoodFamily
from prediff.verification.probability import ProbabilityFamily
from prediff.verification.protocols import NATIVE, Protocol, check_comparable, protocol_named
from prediff.verification.published import published_for
from prediff.verification.score import Score, ScoreFamily
from prediff.verification.significance import Interval, bootstrap_intervals, paired_comparison
from prediff.verification.spectra import SpectraFamily
from prediff.verification.sums import EventSums, Sums

FORMAT = 1
COMPARED = ("crps", "contingency", "continuous", "neighbourhood")
"""Families whose differences between systems are tested."""


def families_of(protocol: Protocol, *, members: int) -> tuple[ScoreFamily, ...]:
    """Return the score families of a protocol for an ensemble of `members`."""
    return (
        CrpsFamily(poolings=protocol.poolings),
        ContingencyFamily(
            thresholds=protocol.thresholds,
            poolings=protocol.poolings,
            epsilon=protocol.epsilon,
            counting=protocol.counting,
            pooled_counting=protocol.pooled_counting,
            undefined=np.nan if protocol.undefined is None else protocol.undefined,
            reference_scaling=protocol.reference_scaling,
        ),
        ContinuousFamily(),
        NeighbourhoodFamily(thresholds=protocol.thresholds),
        ProbabilityFamily(members=members, thresholds=protocol.thresholds),
        SpreadSkillFamily(),
        RankHistogramFamily(members=members),
        SpectraFamily(),
    )


class Scoreboard:
    """Scores of named systems on the same cases by one protocol.

    Args:
        lead_minutes: minutes after the last context frame, one a forecast frame.
        protocol: see `prediff.verification.protocols`; the caller checks the data against it.
    """

    def __init__(self, *, lead_minutes: Sequence[float], protocol: Protocol = NATIVE) -> None:
        self.protocol = protocol
        self.lead_minutes = tuple(float(minutes) for minutes in lead_minutes)
        self.members: dict[str, int] = {}
        self._sums: dict[str, EventSums] = {}

    @property
    def systems(self) -> tuple[str, ...]:
        return tuple(self._sums)

    @property
    def events(self) -> int:
        return len(next(iter(self._sums.values())).events) if self._sums else 0

    @property
    def cases(self) -> int:
        return len(next(iter(self._sums.values())).cases) if self._sums else 0

    def update(
        self,
        *,
        forecasts: Mapping[str, np.ndarray],
        observation: np.ndarray,
        event_ids: Sequence[str],
        case_ids: Sequence[str] | None = None,
    ) -> None:
        """Add a batch of cases.

        Args:
            forecasts: ``[B, M, T, H, W]`` by system, in [0, 1]; M may differ between systems.
            observation: ``[B, T, H, W]``; NaN is missing.
            event_ids: the event of each case; windows of one event share it.
            case_ids: distinct names of the cases; the event ids if there is one case an event.

        Raises:
            UserError: a system is missing or new, shapes disagree, or a case comes twice. Nothing
                of the batch is added then.
        """
        case_ids = event_ids if case_ids is None else case_ids
        if self._sums and set(forecasts) != set(self._sums):
            raise UserError(
                f"this batch has forecasts of {sorted(forecasts)}, earlier ones of "
                f"{sorted(self._sums)}; score all systems on the same cases"
            )
        sizes = {len(event_ids), len(case_ids), len(observation), *map(len, forecasts.values())}
        if len(sizes) != 1:
            raise UserError(
                f"a batch of {len(observation)} observations came with {len(event_ids)} events, "
                f"{len(case_ids)} case ids and forecasts of "
                f"{ {name: len(ensemble) for name, ensemble in forecasts.items()} } cases"
            )
        added: dict[str, EventSums] = {}
        members: dict[str, int] = {}
        for system, ensemble in forecasts.items():
            members[system] = np.shape(ensemble)[1] if np.ndim(ensemble) == 5 else 0
            known = self.members.get(system, members[system])
            if members[system] != known:
                raise UserError(
                    f"'{system}' comes with {members[system]} members after {known}; every case "
                    "of a system needs the same number"
                )
            families = families_of(self.protocol, members=members[system])
            added[system] = EventSums()
            for number, frames in enumerate(ensemble):
                case = ScoredCase(
                    frames,
                    observation[number],
                    quantity_named(self.protocol.quantity),
                )
                if len(case.observation) != len(self.lead_minutes):
                    raise UserError(
                        f"'{system}' has {len(case.observation)} lead times, the scoreboard "
                        f"{len(self.lead_minutes)}"
                    )
                sums: Sums = {}
                for family in families:
                    sums |= family.case_sums(case)
                added[system].add(
                    event=str(event_ids[number]), case=str(case_ids[number]), sums=sums
                )
        for system, sums_of_batch in added.items():
            self._sums.setdefault(system, EventSums()).merge(sums_of_batch)
        self.members |= members

    def merge(self, other: "Scoreboard") -> None:
        """Add the cases that another rank, or an earlier part of the test set, has scored.

        Raises:
            UserError: other protocol, lead times, systems or members, or a case in both.
        """
        check_comparable(self.protocol.scored, other.protocol.scored)
        if not other._sums:
            return
        if self.lead_minutes != other.lead_minutes:
            raise UserError(
                f"lead times differ: {self.lead_minutes} and {other.lead_minutes} minutes"
            )
        if self._sums and self.members != other.members:
            raise UserError(
                f"systems or members differ: {self.members} here and {other.members} there"
            )
        for system, sums in other._sums.items():
            self._sums.setdefault(system, EventSums()).merge(sums)
        self.members |= other.members

    def state(self) -> dict[str, np.ndarray]:
        """Return plain arrays (no objects), to be sent to another rank or saved."""
        state = {
            "format": np.array(FORMAT),
            "protocol": np.array(self.protocol.name),
            "quantity": np.array(self.protocol.quantity),
            "lead_minutes": np.array(self.lead_minutes),
            "systems": np.array(self.systems, dtype=np.str_),
            "members": np.array([self.members[system] for system in self.systems], np.int64),
        }
        for system, sums in self._sums.items():
            state |= {f"{system}/{key}": values for key, values in sums.state().items()}
        return state

    @classmethod
    def from_state(
        cls, state: Mapping[str, np.ndarray], *, protocol: Protocol | None = None
    ) -> "Scoreboard":
        """Return the scoreboard of a state; `protocol` is needed only for an unnamed one."""
        if "format" not in state or int(state["format"]) != FORMAT:
            raise UserError("this is not a saved scoreboard of this version; evaluate again")
        board = cls(
            lead_minutes=tuple(np.asarray(state["lead_minutes"])),
            protocol=protocol
            or protocol_named(
                str(state["protocol"]),
                quantity=quantity_named(str(state.get("quantity", VIL.name))),
            ),
        )
        for system, members in zip(state["systems"], state["members"], strict=True):
            prefix = f"{system}/"
            own = {
                key.removeprefix(prefix): values
                for key, values in state.items()
                if key.startswith(prefix)
            }
            board._sums[str(system)] = EventSums.from_state(own)
            board.members[str(system)] = int(members)
        return board

    def save(self, path: str | Path) -> None:
        """Write the state as .npz, so that another run can be compared event by event."""
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **self.state())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> "Scoreboard":
        """Read what `save` wrote.

        Raises:
            UserError: no such file, or not a scoreboard.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls.from_state(dict(file))
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} is not a readable scoreboard ({error})") from None

    def tables(
        self, *, replicates: int = 1000, level: float = 0.95, seed: int = 0
    ) -> dict[str, Any]:
        """Return every score, nested and JSON-able; undefined values are None.

        ``systems / NAME / scores / (members | ensemble_mean | ensemble) / SCORE / LABELS...`` holds
        ``overall``, ``interval``, ``by_lead_time`` and ``interval_by_lead_time``. ``comparisons``
        holds the first system minus each other one, with interval and p-value.

        Args:
            replicates: bootstrap replicates and permutations, over events.
            level: of the intervals.
        """
        systems: dict[str, Any] = {}
        for system, sums in self._sums.items():
            members = self.members[system]
            rows, totals = sums.rows(), sums.totals()
            scores: dict[str, Any] = {}
            curves: dict[str, Any] = {}
            for family in families_of(self.protocol, members=members):
                intervals = bootstrap_intervals(
                    rows=rows, family=family, replicates=replicates, seed=seed, level=level
                )
                for score, interval in zip(family.scores(totals), intervals, strict=True):
                    scores.setdefault(score.of, {})[score.name] = _nested(score, interval)
                curves |= family.curves(totals)
            systems[system] = {
                "members": members,
                "crps_estimate": self.crps_estimate(system),
                "scores": scores,
                "curves": curves,
            }
        first = next(iter(self._sums.values()), EventSums())
        return _without_nan(
            {
                "format": FORMAT,
                "protocol": self.protocol.describe(),
                "cases": self.cases,
                "events": len(first.events),
                "lead_minutes": list(self.lead_minutes),
                "interval_level": level,
                "replicates": replicates,
                "systems": systems,
                "comparisons": self._comparisons(replicates=replicates, level=level, seed=seed),
                "published": [
                    {"system": row.system, "table": row.table, "values": row.values}
                    for row in published_for(self.protocol)
                ],
            }
        )

    def crps_estimate(self, system: str) -> str:
        """Say which estimate of the CRPS a system's fair score is."""
        if self.members[system] == 1:
            return "plain: one member has no fair estimate; this is the mean absolute error"
        return "fair" if self.protocol.crps == FAIR_CRPS else self.protocol.crps

    def _comparisons(self, *, replicates: int, level: float, seed: int) -> dict[str, Any]:
        first, *others = self.systems or ("",)
        if len(self._sums.get(first, EventSums()).events) < 2:
            return {}
        return {
            f"{first} minus {other}": compare(
                self, self, systems=(first, other), replicates=replicates, level=level, seed=seed
            )
            for other in others
        }


def compare(
    first: Scoreboard,
    second: Scoreboard,
    *,
    systems: tuple[str, str],
    names: tuple[str, str] | None = None,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a system of one run with a system of another, on the same cases.

    Returns ``{of: {score: {labels...: {difference, interval, p_value}}}}`` for the scores over all
    lead times, first minus second, with ``by_lead_time`` and ``interval_by_lead_time`` beside them.

    Args:
        names: what errors call the two; the systems' names if None.

    Raises:
        UserError: other protocol, cases or lead times, fewer than two events, no such system.
    """
    check_comparable(first.protocol.name, second.protocol.name)
    if first.lead_minutes != second.lead_minutes:
        raise UserError(
            f"lead times differ: {first.lead_minutes} and {second.lead_minutes} minutes"
        )
    for board, system in zip((first, second), systems, strict=True):
        if system not in board.systems:
            raise UserError(f"no system '{system}' was scored; there are {list(board.systems)}")
    members = [board.members[name] for board, name in zip((first, second), systems, strict=True)]
    table: dict[str, Any] = {}
    for family in families_of(first.protocol, members=members[0]):
        if family.name not in COMPARED:
            continue
        for result in paired_comparison(
            first=first._sums[systems[0]],
            second=second._sums[systems[1]],
            family=family,
            names=names or systems,
            same_members=members[0] == members[1],
            replicates=replicates,
            level=level,
            seed=seed,
        ):
            leaf = table.setdefault(result.of, {}).setdefault(result.name, {})
            for index, labels in _indices(result.labels):
                _descend(leaf, labels).update(
                    difference=float(result.difference[index]),
                    interval=[float(result.low[index]), float(result.high[index])],
                    p_value=float(result.p_value[index]),
                    by_lead_time=result.by_lead_time[0][index].tolist(),
                    interval_by_lead_time=[
                        bound[index].tolist() for bound in result.by_lead_time[1:]
                    ],
                )
    return _without_nan(table)


def _indices(labels: Mapping[str, tuple[str, ...]]):
    """Yield ``(array index, label path)`` over all combinations of the labels."""
    for path in product(*(tuple(enumerate(values)) for values in labels.values())):
        yield tuple(number for number, _ in path), tuple(label for _, label in path)


def _descend(table: dict, path: Sequence[str]) -> dict:
    for key in path:
        table = table.setdefault(key, {})
    return table


def _nested(score: Score, interval: Interval) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for index, labels in _indices(score.labels):
        _descend(table, labels).update(
            overall=float(score.overall[index]),
            interval=[float(bound[index]) for bound in interval.overall],
            by_lead_time=score.by_lead_time[index].tolist(),
            interval_by_lead_time=[bound[index].tolist() for bound in interval.by_lead_time],
        )
    return table


def _without_nan(value: Any) -> Any:
    """Return the nested value with None in place of NaN, which JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
