"""What a schedule costs: play it with measured times, and find deadlocks before they happen."""

from dataclasses import dataclass

from hpc.pipeline.actions import (
    Action,
    Backward,
    BackwardWeight,
    Forward,
    Receive,
    Schedule,
    Send,
)
from hpc.pipeline.costs import StageCosts


class Deadlock(Exception):
    """No rank can go on; the message says what each waits for."""


@dataclass(frozen=True)
class Played:
    """An action with its time, in seconds from the start of the step."""

    rank: int
    action: Action
    start: float
    end: float


@dataclass(frozen=True)
class Simulation:
    """What a schedule would do."""

    timeline: tuple[Played, ...]
    makespan: float
    """Seconds from the first action to the last."""
    bubble: float
    """Share of all ranks' time in which they compute nothing."""
    peak_live: tuple[int, ...]
    """Chunk inputs that each rank keeps at once, at most."""


def simulate(schedule: Schedule, costs: StageCosts, *, blocking: bool = False) -> Simulation:
    """Play a schedule.

    Args:
        schedule: of one step.
        costs: of its computations and messages.
        blocking: whether a send waits until its receive begins, and both until the message is over
            (rendezvous), as HCCL may. Otherwise sends are buffered, and messages of a rank leave
            one after the other.

    Raises:
        Deadlock: the ranks wait for each other.
    """
    clock = _Clock(schedule, costs)
    while any(clock.waiting(rank) is not None for rank in clock.ranks):
        if not any(clock.advance(rank, blocking=blocking) for rank in clock.ranks):
            states = (f"rank {r} at {clock.waiting(r)}" for r in clock.ranks)
            raise Deadlock(f"{schedule.name}: {'; '.join(states)}")
    timeline = tuple(sorted(clock.timeline, key=lambda played: (played.start, played.rank)))
    makespan = max(played.end for played in timeline)
    busy = sum(
        played.end - played.start
        for played in timeline
        if not isinstance(played.action, Send | Receive)
    )
    return Simulation(
        timeline=timeline,
        makespan=makespan,
        bubble=1 - busy / (makespan * len(schedule.ranks)),
        peak_live=peak_live(schedule),
    )


def peak_live(schedule: Schedule) -> tuple[int, ...]:
    """Return the number of chunk inputs that each rank keeps at once, at most."""
    peaks = []
    for actions in schedule.ranks:
        live = peak = 0
        for action in actions:
            live += isinstance(action, Forward)
            peak = max(peak, live)
            live -= isinstance(action, Backward | BackwardWeight)
        peaks.append(peak)
    return tuple(peaks)


class _Clock:
    def __init__(self, schedule: Schedule, costs: StageCosts) -> None:
        self.actions, self.costs = schedule.ranks, costs
        self.ranks = range(len(schedule.ranks))
        self.position = [0 for _ in self.ranks]
        self.time = [0.0 for _ in self.ranks]
        self.link_free = [0.0 for _ in self.ranks]
        self.arrivals: dict[tuple, float] = {}
        self.timeline: list[Played] = []

    def waiting(self, rank: int) -> Action | None:
        """Return the next action of a rank, or None at its end."""
        actions = self.actions[rank]
        return actions[self.position[rank]] if self.position[rank] < len(actions) else None

    def advance(self, rank: int, *, blocking: bool) -> bool:
        """Play a rank's actions as far as they go; return whether there were any."""
        began = self.position[rank]
        while (action := self.waiting(rank)) is not None:
            if isinstance(action, Send | Receive):
                meet = self._meet if blocking else self._pass
                if not meet(rank, action):
                    break
            else:
                self._play(rank, action, self.time[rank] + self.costs.of(action))
        return self.position[rank] > began

    def _play(self, rank: int, action: Action, end: float) -> None:
        self.timeline.append(Played(rank, action, self.time[rank], end))
        self.time[rank] = end
        self.position[rank] += 1

    def _pass(self, rank: int, action: Send | Receive) -> bool:
        """Send into a buffer, or receive what has been sent."""
        name = (action.kind, action.source, action.target, action.micro_batch)
        if isinstance(action, Send):
            ready = self.time[rank] + self.costs.host
            self.link_free[rank] = max(ready, self.link_free[rank]) + self.costs.carry(
                action.source, action.target
            )
            self.arrivals[name] = self.link_free[rank]
            self._play(rank, action, ready)
            return True
        if name not in self.arrivals:
            return False
        self._play(rank, action, max(self.time[rank], self.arrivals[name]) + self.costs.host)
        return True

    def _meet(self, rank: int, action: Send | Receive) -> bool:
        """Send and receive at once, when both ranks are there."""
        other = self.waiting(action.peer)
        pair = Receive if isinstance(action, Send) else Send
        name = (action.kind, action.source, action.target, action.micro_batch)
        if not isinstance(other, pair) or name != (
            other.kind,
            other.source,
            other.target,
            other.micro_batch,
        ):
            return False
        send = action if isinstance(action, Send) else other
        assert isinstance(send, Send)
        begin = max(self.time[rank], self.time[action.peer])
        end = begin + self.costs.carry(send.source, send.target) + self.costs.host
        self._play(action.peer, other, end)
        self._play(rank, action, end)
        return True
