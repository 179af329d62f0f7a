"""Where the seconds of a step went: a sweep over its operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from prediff.profiler.operators import Execution
from prediff.profiler.record import StepTimes


@dataclass(frozen=True)
class StepMarks:
    """Seconds since 1970 on one rank."""

    asked: float
    """For the batch."""
    began: float
    ended: float
    """When the step's numbers were on the host."""


def step_times(marks: StepMarks, executions: Sequence[Execution]) -> StepTimes:
    """Return the parts of a step.

    Where operators overlap, computing counts before eager work, and that before communication:
    what is hidden costs nothing. A gap beside an eager operator is what starting that one costs.

    Args:
        executions: by start; those outside of the step are left out.
    """
    inside = [run for run in executions if marks.began <= run.start < marks.ended]
    sums = {"compute": 0.0, "eager": 0.0, "communication": 0.0, "host": 0.0}
    edges = sorted(
        {marks.began, marks.ended}
        | {min(time, marks.ended) for run in inside for time in (run.start, run.end)}
    )
    active: list[Execution] = []
    last: Execution | None = None
    following = 0
    for left, right in pairwise(edges):
        while following < len(inside) and inside[following].start <= left:
            last = inside[following]
            active.append(last)
            following += 1
        active = [run for run in active if run.end > left]
        if active:
            part = min((_part(run) for run in active), key=list(sums).index)
        else:
            neighbours = [last, inside[following] if following < len(inside) else None]
            part = "eager" if any(run and run.is_eager for run in neighbours) else "host"
        sums[part] += right - left
    return StepTimes(data=marks.began - marks.asked, **sums)


def _part(run: Execution) -> str:
    if run.is_collective:
        return "communication"
    return "eager" if run.is_eager else "compute"
