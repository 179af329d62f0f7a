"""Which events and which windows belong to training, validation and test.

Source: MODEL section 6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from hpc.errors import UserError
from prediff.data.catalog import CatalogRow, Event, select_events
from prediff.data.windows import (
    SplitRule,
    cut_windows,
    reference_event_order,
    reference_split_by_sequence,
    split_by_event,
)

Split = Literal["train", "validation", "test", "all"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The rules that turn a catalog into the windows of a split; defaults are SEVIR-LR's.

    Attributes:
        length: frames of a sequence, context and forecast together.
        stride: frames between the starts of two sequences of an event.
        start: events must be later than this; None is no limit.
        test_after: events up to and including this time are for training and validation, later
            ones for the test.
        end: events must not be later than this; None is no limit.
        split_rule: what stays together on one side of the split: ``by_event`` all sequences of an
            event, ``by_day`` all events of a UTC day, ``by_group`` all of the catalog's ``group``
            (the day where it has none); ``by_sequence`` is the reference's, which leaks.
        validation_fraction: part of the events (or sequences) that validate, at least 0, below 1.
        split_seed: seed of the split into training and validation.
        part_of: the part that each event belongs to by id, where it was fixed before.
    """

    length: int = 13
    stride: int = 6
    start: datetime | None = None
    test_after: datetime = datetime(2019, 6, 1)
    end: datetime | None = None
    split_rule: SplitRule = "by_event"
    validation_fraction: float = 0.1
    split_seed: int = 0
    part_of: Mapping[str, str] | None = None

    def usable(self, rows: Sequence[CatalogRow]) -> list[Event]:
        """Return the usable events of all times between ``start`` and ``end``, ordered by id."""
        return select_events(rows, after=self.start, until=self.end)

    def cut(
        self, rows: Sequence[CatalogRow], *, split: Split, frames: int
    ) -> tuple[list[Event], np.ndarray]:
        """Return the events of a split and its windows ``[n, 2]`` (position of event, start).

        The split ``all`` takes every event regardless of its time. With ``by_sequence`` training
        and validation have the same events, in the reference's order, and share the windows out.

        Raises:
            UserError: a window is longer than an event.
        """

        def every_window(events: Sequence[Event]) -> np.ndarray:
            return cut_windows(
                events=len(events), frames=frames, length=self.length, stride=self.stride
            )

        events = self.usable(rows)
        if split == "all":
            return events, every_window(events)
        parts = self.part_of if self.part_of is not None else self.parts(events)
        if self.split_rule == "by_sequence" and split != "test":
            events = [event for event in events if parts.get(event.id) in ("train", "validation")]
            events = [events[i] for i in reference_event_order(len(events))]
            windows = every_window(events)
            items = reference_split_by_sequence(
                len(windows), validation_fraction=self.validation_fraction, seed=self.split_seed
            )[0 if split == "train" else 1]
            return events, windows[items]
        events = [event for event in events if parts.get(event.id) == split]
        return events, every_window(events)

    def parts(self, events: Sequence[Event]) -> dict[str, str]:
        """Return which part each event belongs to, by id.

        What belongs together is on one side of the test's date too: if one of it is later, all of
        it is test. With ``by_sequence`` all events before the test count as ``train``.
        """
        together: dict[str, list[Event]] = {}
        for event in events:
            together.setdefault(self._unit(event), []).append(event)
        parts: dict[str, str] = {}
        earlier = []
        for unit, members in together.items():
            if max(event.time for event in members) > self.test_after:
                parts.update((event.id, "test") for event in members)
            else:
                earlier.append(unit)
        sides = (
            (range(len(earlier)), ())
            if self.split_rule == "by_sequence"
            else split_by_event(
                earlier, validation_fraction=self.validation_fraction, seed=self.split_seed
            )
        )
        for part, positions in zip(("train", "validation"), sides, strict=True):
            for position in positions:
                parts.update((event.id, part) for event in together[earlier[position]])
        return parts

    def _unit(self, event: Event) -> str:
        if self.split_rule == "by_day":
            return f"{event.time:%Y-%m-%d}"
        return event.group if self.split_rule == "by_group" else event.id

    def explain_empty(
        self, rows: Sequence[CatalogRow], *, split: Split, place: object
    ) -> UserError:
        """Return the error that says why a split has no windows, and what to change."""
        if not rows:
            return UserError(f"{place} lists no radar event of type vil: name another data folder")
        times = sorted(event.time for event in self.usable(rows))
        if not times:
            return UserError(
                f"{place} has no usable event: of {len(rows)} vil rows none is complete "
                f"(pct_missing 0), listed once, and between {self.start or 'the beginning'} and "
                f"{self.end or 'the end'}"
            )
        return UserError(
            f"{place} has no usable event for the split '{split}': of {len(times)} events from "
            f"{times[0]} to {times[-1]} those after {self.test_after} are for the test, and "
            f"{self.validation_fraction:g} of the others validate: change data.test_from or "
            f"data.validation_fraction"
        )
