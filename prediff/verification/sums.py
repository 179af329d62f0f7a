"""Sums by event: the one state that every score is computed from.

A score of a test set is a function of sums over its cases. The sums are kept by event (the unit
that may be resampled, because windows of one event are not independent), so totals, bootstrap
replicates and permutations are all weighted sums of the same rows.

Nothing here depends on how cases are spread over batches and ranks: counts are integers, and real
sums are rounded to a binary grid on which float64 addition is exact and therefore associative.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hpc.errors import UserError

Sums = dict[str, np.ndarray]


def exactly_summable(values: np.ndarray, *, bits: int = 28) -> np.ndarray:
    """Return `values` as float64 rounded to multiples of ``2**-bits``.

    Sums of such numbers are exact, in any order, while they stay below ``2**(53 - bits)``. The
    default suits sums over pixels of numbers in [0, 1]: 4e-9 of one pixel is lost, and 32 million
    pixels fit in one event.
    """
    return np.ldexp(np.rint(np.ldexp(np.asarray(values, np.float64), bits)), -bits)


class EventSums:
    """Named arrays of sums, one row an event; rows of the same event are added."""

    def __init__(self) -> None:
        self._rows: dict[str, Sums] = {}
        self._event_of: dict[str, str] = {}

    def add(self, *, event: str, case: str, sums: Mapping[str, np.ndarray]) -> None:
        """Add one case's sums to its event.

        Raises:
            UserError: the case was added before (a sampler that repeats cases to fill a batch).
        """
        if case in self._event_of:
            raise UserError(
                f"case '{case}' was scored twice; give every case once, or pass distinct case_ids"
            )
        self._event_of[case] = event
        self._add_row(event, sums)

    def merge(self, other: "EventSums") -> None:
        """Add everything that `other` (of another rank, or another part of the test set) holds."""
        twice = self._event_of.keys() & other._event_of.keys()
        if twice:
            raise UserError(
                f"case '{min(twice)}' was scored on two ranks ({len(twice)} such cases); "
                "give every case to one rank"
            )
        self._event_of |= other._event_of
        for event, sums in other._rows.items():
            self._add_row(event, sums)

    def _add_row(self, event: str, sums: Mapping[str, np.ndarray]) -> None:
        row = self._rows.get(event)
        if row is None:
            self._rows[event] = {name: np.array(values) for name, values in sums.items()}
            return
        for name, values in sums.items():
            if row[name].shape != np.shape(values):
                raise UserError(
                    f"event '{event}' brings {name} of shape {np.shape(values)} where earlier "
                    f"cases had {row[name].shape}; one scoreboard takes one frame size, number of "
                    "lead times and number of members"
                )
            row[name] += values

    @property
    def events(self) -> list[str]:
        return sorted(self._rows)

    @property
    def cases(self) -> list[str]:
        return sorted(self._event_of)

    def rows(self) -> Sums:
        """Return ``{name: [event, ...]}``, events in sorted order."""
        events = self.events
        if not events:
            raise UserError("no case was scored; call update before asking for scores")
        try:
            return {
                name: np.stack([self._rows[event][name] for event in events])
                for name in self._rows[events[0]]
            }
        except ValueError as error:
            raise UserError(
                "the scored cases differ in frame size, lead times or members; score each kind "
                f"with its own scoreboard ({error})"
            ) from None

    def totals(self) -> Sums:
        """Return ``{name: [...]}`` summed over all events, in sorted order."""
        return {name: rows.sum(axis=0) for name, rows in self.rows().items()}

    def state(self) -> dict[str, np.ndarray]:
        """Return plain arrays (no objects) that `from_state` takes, for files and messages."""
        state = {
            "events": np.array(self.events, dtype=np.str_),
            "cases": np.array(self.cases, dtype=np.str_),
            "case_events": np.array([self._event_of[case] for case in self.cases], dtype=np.str_),
        }
        if self._rows:
            state |= {f"sums/{name}": rows for name, rows in self.rows().items()}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> "EventSums":
        sums = cls()
        sums._event_of = dict(
            zip(map(str, state["cases"]), map(str, state["case_events"]), strict=True)
        )
        names = [name for name in state if name.startswith("sums/")]
        for number, event in enumerate(map(str, state["events"])):
            sums._rows[event] = {
                name.removeprefix("sums/"): np.array(state[name][number]) for name in names
            }
        return sums


def sums_of(rows: Sums, family: str) -> Sums:
    """Return the sums of one family: those named ``family`` or ``family/...``."""
    return {name: values for name, values in rows.items() if name.split("/")[0] == family}


def weighted_sums(rows: Sums, weights: np.ndarray) -> Sums:
    """Return ``{name: [replicate, ...]}``: the rows summed with ``weights [replicate, event]``."""
    weights = np.asarray(weights, np.float64)
    return {
        name: (weights @ values.reshape(len(values), -1)).reshape(len(weights), *values.shape[1:])
        for name, values in rows.items()
    }


def same_events(first: EventSums, second: EventSums, *, names: Sequence[str]) -> None:
    """Raise UserError unless both hold exactly the same cases."""
    if first.cases != second.cases:
        missing = sorted(set(first.cases) ^ set(second.cases))
        raise UserError(
            f"'{names[0]}' and '{names[1]}' were not scored on the same cases ({len(missing)} "
            f"differ, first '{missing[0]}'); score both on one test set"
        )
