"""Messages between the computations of a pipeline's ranks: what has to be sent, when, and where.

Two ways to place them among a rank's computations:

- for sends that may wait for their receive (HCCL): all actions have a place in one total order of
  which every rank's list is a part, and a send and its receive share a place. So no deadlock is
  possible, but a rank may wait for a message before it has to.
- for buffered sends: a receive stands just before what needs it. Messages from one rank to another
  are received in the order in which they were sent.
"""

from collections.abc import Mapping, Sequence

from hpc.pipeline.actions import (
    Action,
    Backward,
    BackwardInput,
    BackwardWeight,
    Compute,
    Forward,
    Placement,
    Receive,
    Send,
)
from hpc.pipeline.costs import StageCosts

Link = tuple[str, int, int]
"""(``activation`` or ``skip``, source chunk, target chunk), forwards."""
Message = tuple[str, int, int, int]
"""(kind, source chunk, target chunk, micro-batch)."""
_BACKWARDS: Mapping[str, str] = {"activation": "gradient", "skip": "skip_gradient"}


class Wiring:
    """Which computation needs which, and what goes between ranks for it.

    Args:
        placement: rank of each chunk.
        skips: (source chunk, target chunk) of the skips between different chunks.
        split: whether backward passes are halved.
    """

    def __init__(
        self, placement: Placement, skips: Sequence[tuple[int, int]], *, split: bool
    ) -> None:
        self.placement = placement
        self.backward = BackwardInput if split else Backward
        chain: list[Link] = [("activation", c, c + 1) for c in range(len(placement) - 1)]
        self.links = chain + [("skip", source, target) for source, target in skips]
        self._into: dict[int, list[Link]] = {}
        self._out_of: dict[int, list[Link]] = {}
        for link in self.links:
            self._into.setdefault(link[2], []).append(link)
            self._out_of.setdefault(link[1], []).append(link)

    def needs(self, action: Compute) -> list[tuple[Compute, Message | None]]:
        """Return the computations that must come before, each with the message it takes."""
        c, k = action.chunk, action.micro_batch
        if isinstance(action, BackwardWeight):
            return [(BackwardInput(c, k), None)]
        if isinstance(action, Forward):
            return [
                (Forward(source, k), self._message(kind, source, c, k))
                for kind, source, _ in self._into.get(c, ())
            ]
        return [
            (Forward(c, k), None),
            *(
                (self.backward(target, k), self._message(_BACKWARDS[kind], target, c, k))
                for kind, _, target in self._out_of.get(c, ())
            ),
        ]

    def _message(self, kind: str, source: int, target: int, k: int) -> Message | None:
        crosses = self.placement[source] != self.placement[target]
        return (kind, source, target, k) if crosses else None


def start_times(
    orders: Sequence[Sequence[Compute]], wiring: Wiring, costs: StageCosts
) -> dict[Compute, float]:
    """Return when each computation starts if every rank follows its order."""
    starts: dict[Compute, float] = {}
    position, free = [0] * len(orders), [0.0] * len(orders)
    remaining = sum(map(len, orders))
    while remaining:
        before = remaining
        for rank, order in enumerate(orders):
            while position[rank] < len(order):
                action = order[position[rank]]
                needed = wiring.needs(action)
                if not all(need in starts for need, _ in needed):
                    break
                ready = [
                    starts[need] + costs.of(need) + (costs.carry(*m[1:3]) if m else 0.0)
                    for need, m in needed
                ]
                starts[action] = max([free[rank], *ready])
                free[rank] = starts[action] + costs.of(action)
                position[rank] += 1
                remaining -= 1
        assert remaining < before, "the orders of the ranks wait for each other"
    return starts


def add_messages(
    orders: Sequence[Sequence[Compute]], wiring: Wiring, costs: StageCosts, *, blocking: bool
) -> tuple[tuple[Action, ...], ...]:
    """Return what each rank does, messages included; see the module for `blocking`."""
    messages: dict[Compute, list[Message]] = {}
    for order in orders:
        for action in order:
            for maker, message in wiring.needs(action):
                if message:
                    messages.setdefault(maker, []).append(message)
    place = _in_one_order if blocking else _when_needed
    return place(orders, wiring, costs, messages)


def _in_one_order(
    orders: Sequence[Sequence[Compute]],
    wiring: Wiring,
    costs: StageCosts,
    messages: Mapping[Compute, Sequence[Message]],
) -> tuple[tuple[Action, ...], ...]:
    starts = start_times(orders, wiring, costs)
    keyed: list[list[tuple[tuple[float, int, int], Action]]] = [
        [((starts[action], 1, n), action) for n, action in enumerate(order)] for order in orders
    ]
    made = []
    for maker, group in messages.items():
        assert costs.of(maker) > 0, "a message would come before what makes it"
        made += [(starts[maker] + costs.of(maker), message) for message in group]
    for number, (end, message) in enumerate(sorted(made)):
        key = (end, 0, number)
        giver, taker = _ends(message, wiring.placement)
        keyed[giver].append((key, Send(*message, peer=taker)))
        keyed[taker].append((key, Receive(*message, peer=giver)))
    return tuple(
        tuple(action for _, action in sorted(entries, key=lambda entry: entry[0]))
        for entries in keyed
    )


def _when_needed(
    orders: Sequence[Sequence[Compute]],
    wiring: Wiring,
    costs: StageCosts,
    messages: Mapping[Compute, Sequence[Message]],
) -> tuple[tuple[Action, ...], ...]:
    under_way: dict[tuple[int, int], list[Message]] = {}
    for order in orders:
        for action in order:
            for message in messages.get(action, ()):
                under_way.setdefault(_ends(message, wiring.placement), []).append(message)
    ranks = []
    for order in orders:
        actions: list[Action] = []
        for action in order:
            for _, needed in wiring.needs(action):
                queue = under_way[_ends(needed, wiring.placement)] if needed else []
                while needed in queue:
                    first = queue.pop(0)
                    actions.append(Receive(*first, peer=_ends(first, wiring.placement)[0]))
            actions.append(action)
            for message in messages.get(action, ()):
                actions.append(Send(*message, peer=_ends(message, wiring.placement)[1]))
        ranks.append(tuple(actions))
    return tuple(ranks)


def _ends(message: Message, placement: Placement) -> tuple[int, int]:
    """Return (sending rank, receiving rank)."""
    return placement[message[1]], placement[message[2]]
