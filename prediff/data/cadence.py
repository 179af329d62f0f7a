"""The time between frames: one for a whole data folder, without gaps.

What trains, what scores and what a user hands in answer to the same rule.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hpc.errors import UserError
from prediff.data.catalog import Event

TOLERANCE = 0.2
"""Part of the cadence by which frames may be early or late: clocks jitter, gaps are larger."""

_SHOWN = 3


@dataclass(frozen=True)
class OddEvent:
    """An event whose frames are not one cadence apart, and why."""

    event: Event
    reason: str


def even_step(minutes: Sequence[float]) -> float | None:
    """Return the usual step of times in minutes, None if one of the steps is another."""
    steps = np.diff(np.asarray(minutes, np.float64))
    if not len(steps):
        return None
    usual = float(np.median(steps))
    return usual if usual > 0 and (np.abs(steps - usual) <= TOLERANCE * usual).all() else None


def odd_events(events: Iterable[Event], *, frames: int) -> tuple[float | None, list[OddEvent]]:
    """Return the cadence of most events, and the events that do not keep to it.

    Events of which the catalog says no times count as 10 minutes apart.
    """
    judged: dict[tuple[int, ...], tuple[float | None, str]] = {}
    odd: list[OddEvent] = []
    known: list[tuple[Event, float]] = []
    for event in events:
        if event.minute_offsets not in judged:
            judged[event.minute_offsets] = _judge(event, frames)
        step, reason = judged[event.minute_offsets]
        if reason:
            odd.append(OddEvent(event, reason))
        elif step is not None:
            known.append((event, step))
    if not known:
        return None, odd
    values, counts = np.unique([step for _, step in known], return_counts=True)
    usual = float(values[counts.argmax()])
    usual = int(usual) if usual.is_integer() else usual
    odd += [
        OddEvent(event, f"frames are {step:g} minutes apart, those of most events {usual:g}")
        for event, step in known
        if abs(step - usual) > TOLERANCE * usual
    ]
    return usual, odd


def explain_odd(odd: Sequence[OddEvent], *, place: object) -> UserError:
    """Return the error that names such events."""
    named = "; ".join(f"{each.event.id}: {each.reason}" for each in odd[:_SHOWN])
    more = f"; and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
    return UserError(
        f"{place}: {len(odd)} events are not of one cadence ({named}{more}): mend minute_offsets, "
        "or keep such events in another folder"
    )


def _judge(event: Event, frames: int) -> tuple[float | None, str]:
    """Return an event's step, and what is wrong with its times."""
    if event.minute_offsets and event.frame_offsets(frames) is None:
        return None, f"{len(event.minute_offsets)} minute_offsets for {frames} frames"
    step = even_step(event.frame_minutes(frames))
    if step is None and frames > 1:
        return None, "frames are missing or out of order between its times"
    return step, ""
