"""Who does what when, as data: a schedule is a list of actions for each rank of a pipeline.

A network is a chain of chunks; a placement says which rank holds each. Plain pipelines have p
chunks, one a rank. Folded ones have 2p: rank r holds chunk r, on the way down a U-Net, and chunk
2p-1-r, on the way up, so that skips never leave their rank and both ends meet on rank 0.

Every schedule is made in two steps: the order of each rank's computations, then the messages
between them, placed so that no schedule can deadlock, not even where a send waits for its receive:
all actions have a place in one total order of which every rank's list is a part, and a send and
its receive share a place.

Source: GPipe, Huang et al. 2019; 1F1B, Narayanan et al. 2019; backward passes in two halves, Qi et
al. 2024 ("Zero bubble"); V-shaped placement, Qi et al. 2024 ("Controllable memory").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Placement = tuple[int, ...]
"""The rank of each chunk."""


@dataclass(frozen=True)
class Forward:
    """Run a chunk on a micro-batch and keep its input."""

    chunk: int
    micro_batch: int


@dataclass(frozen=True)
class Backward:
    """Find the gradients of a chunk's input and parameters, and drop the kept input."""

    chunk: int
    micro_batch: int


@dataclass(frozen=True)
class BackwardInput:
    """Find the gradient of a chunk's input only; others wait for it."""

    chunk: int
    micro_batch: int


@dataclass(frozen=True)
class BackwardWeight:
    """Find the gradients of a chunk's parameters, which nobody waits for; drop the kept input."""

    chunk: int
    micro_batch: int


Compute = Forward | Backward | BackwardInput | BackwardWeight


@dataclass(frozen=True)
class Send:
    """Give rank `peer` what chunk `source` made for chunk `target`.

    `kind` is ``activation`` or ``gradient`` between neighbours in the chain, ``skip`` or
    ``skip_gradient`` along a skip connection between ranks.
    """

    kind: str
    source: int
    target: int
    micro_batch: int
    peer: int


@dataclass(frozen=True)
class Receive:
    """Take from rank `peer` what its chunk `source` made for chunk `target`; see `Send`."""

    kind: str
    source: int
    target: int
    micro_batch: int
    peer: int


Action = Compute | Send | Receive


@dataclass(frozen=True)
class Schedule:
    """What each rank of a pipeline does, in order."""

    name: str
    placement: Placement
    micro_batches: int
    ranks: tuple[tuple[Action, ...], ...]
    in_flight: int
    """Micro-batches that are in the pipeline at once, at most."""

    @property
    def chunks(self) -> int:
        return len(self.placement)

    @property
    def live_bound(self) -> int:
        """Return how many chunk inputs a rank keeps at once, at most."""
        most = max(self.placement.count(rank) for rank in range(len(self.ranks)))
        return most * self.in_flight


@dataclass(frozen=True)
class RelativeCosts:
    """Durations by which computations are put in order; only their ratios matter.

    The backward pass of a chunk that computes its forward pass again takes three times as long as
    the forward pass.
    """

    forward: float = 1.0
    backward: float = 3.0
    backward_input: float = 2.0
    backward_weight: float = 1.0

    def of(self, action: Compute) -> float:
        """Return the duration of a computation."""
        return {
            Forward: self.forward,
            Backward: self.backward,
            BackwardInput: self.backward_input,
            BackwardWeight: self.backward_weight,
        }[type(action)]


def plain_placement(stages: int) -> Placement:
    """Return one chunk a rank."""
    return tuple(range(stages))


def folded_placement(stages: int) -> Placement:
    """Return chunks 0..p-1 on ranks 0..p-1 and p..2p-1 on p-1..0."""
    return (*range(stages), *reversed(range(stages)))


def gpipe(*, placement: Placement, micro_batches: int) -> Schedule:
    """Return GPipe: all forward passes, then all backward passes in reverse."""
    orders: list[list[Compute]] = []
    numbers = range(micro_batches)
    for rank in range(max(placement) + 1):
        chunks = [c for c, holder in enumerate(placement) if holder == rank]
        forwards: list[Compute] = [Forward(c, k) for c in chunks for k in numbers]
        orders.append(forwards + [Backward(c, k) for c in reversed(chunks) for k in numbers])
    return _complete("GPipe", placement, orders, in_flight=micro_batches)


def forward_only(*, placement: Placement, micro_batches: int) -> Schedule:
    """Return one forward pass of every micro-batch, each as early as possible."""
    orders: list[list[Compute]] = [[] for _ in range(max(placement) + 1)]
    for wave in range(micro_batches + len(placement) - 1):
        for c in reversed(range(len(placement))):
            if 0 <= wave - c < micro_batches:
                orders[placement[c]].append(Forward(c, wave - c))
    return _complete("forward only", placement, orders, in_flight=micro_batches)


def one_forward_one_backward(
    *, stages: int, micro_batches: int, skips: Sequence[tuple[int, int]] = ()
) -> Schedule:
    """Return 1F1B over p chunks on p ranks; stage r keeps at most p-r inputs.

    Args:
        skips: (source chunk, target chunk) of each skip connection; one between different ranks is
            shipped. This is how a U-Net runs in an ordinary pipeline.
    """
    orders: list[list[Compute]] = []
    for stage in range(stages):
        warm_up = min(stages - stage - 1, micro_batches)
        order: list[Compute] = [Forward(stage, k) for k in range(warm_up)]
        for k in range(micro_batches):
            if warm_up + k < micro_batches:
                order.append(Forward(stage, warm_up + k))
            order.append(Backward(stage, k))
        orders.append(order)
    return _complete(
        "1F1B", plain_placement(stages), orders, in_flight=min(stages, micro_batches), skips=skips
    )


def folded_one_forward_one_backward(
    *,
    stages: int,
    micro_batches: int,
    in_flight: int | None = None,
    costs: RelativeCosts | None = None,
) -> Schedule:
    """Return 1F1B over the 2p chunks of a folded pipeline.

    Each rank always does the first thing that it can do: a forward pass, the deepest first, or
    else a backward pass. What keeps this from being GPipe is that a micro-batch enters only while
    fewer than `in_flight` are inside. With 2p-1, the default, and equal chunks the idle time of a
    rank is (p-1)(f+b) for chunk times f and b, which is the least possible (the way of the first
    micro-batch to the last rank, and of the last one back) from 2p-1 micro-batches on, and half of
    what p chunks of twice the size cost. Fewer in flight keep fewer inputs and idle longer.
    """
    return _folded("folded 1F1B", stages, micro_batches, in_flight, costs, split=False)


def folded_split_backward(
    *,
    stages: int,
    micro_batches: int,
    in_flight: int | None = None,
    costs: RelativeCosts | None = None,
) -> Schedule:
    """Return folded 1F1B with backward passes in two halves; weight halves fill idle time.

    It pays where the halves together cost little more than the whole, that is where activations
    are kept. With recomputation each half computes the forward pass again.
    """
    return _folded("folded split backward", stages, micro_batches, in_flight, costs, split=True)


def _folded(
    name: str,
    stages: int,
    micro_batches: int,
    in_flight: int | None,
    costs: RelativeCosts | None,
    *,
    split: bool,
) -> Schedule:
    placement = folded_placement(stages)
    limit = min(2 * stages - 1 if in_flight is None else in_flight, micro_batches)
    assert limit >= 1, "at least one micro-batch is in flight"
    costs = costs or RelativeCosts()
    orders = _order_greedily(placement, micro_batches, limit, costs, split=split)
    return _complete(name, placement, orders, in_flight=limit, costs=costs)


def _order_greedily(
    placement: Placement, micro_batches: int, limit: int, costs: RelativeCosts, *, split: bool
) -> list[list[Compute]]:
    """Let every rank do the first thing that it can; ties go forward, then to the deepest chunk."""
    chunks, last = len(placement), len(placement) - 1
    kinds = (Forward, BackwardInput, BackwardWeight) if split else (Forward, Backward)
    backward, release = kinds[1], kinds[-1]
    counts = {(kind, c): 0 for kind in kinds for c in range(chunks)}
    ends: dict[Compute, float] = {}
    free = [0.0] * (last // 2 + 1)
    live = [0] * len(free)
    orders: list[list[Compute]] = [[] for _ in free]

    def needs(action: Compute) -> list[Compute]:
        c, k = action.chunk, action.micro_batch
        if isinstance(action, Forward):
            if c > 0:
                return [Forward(c - 1, k)]
            return [release(0, k - limit)] if k >= limit else []
        if isinstance(action, BackwardWeight):
            return [BackwardInput(c, k)]
        return [Forward(c, k)] + ([backward(c + 1, k)] if c < last else [])

    for _ in range(len(kinds) * chunks * micro_batches):
        choices = []
        for (kind, c), k in counts.items():
            action, rank = kind(c, k), placement[c]
            # Weight halves, which nobody waits for, must not pile up inputs either.
            full = kind is Forward and live[rank] == 2 * limit
            if k < micro_batches and not full and all(need in ends for need in needs(action)):
                start = max([free[rank], *(ends[need] for need in needs(action))])
                depth = -c if kind is Forward else c
                choices.append((start, kinds.index(kind), depth, rank, action))
        start, _, _, rank, action = min(choices, key=lambda choice: choice[:4])
        ends[action] = free[rank] = start + costs.of(action)
        orders[rank].append(action)
        live[rank] += (type(action) is Forward) - (type(action) is release)
        counts[type(action), action.chunk] += 1
    return orders


def _complete(
    name: str,
    placement: Placement,
    orders: Sequence[Sequence[Compute]],
    *,
    in_flight: int,
    skips: Sequence[tuple[int, int]] = (),
    costs: RelativeCosts | None = None,
) -> Schedule:
    costs = costs or RelativeCosts()
    links = {("activation", c, c + 1) for c in range(len(placement) - 1)}
    links |= {("skip", source, target) for source, target in skips}
    crossing = sorted(link for link in links if placement[link[1]] != placement[link[2]])
    starts = _play(orders, links, costs)
    keyed: list[list[tuple[tuple[float, int, int], Action]]] = [[] for _ in orders]
    for rank, order in enumerate(orders):
        # Ties of computations on one rank cannot happen: durations are positive.
        keyed[rank] += [((starts[action], 1, 0), action) for action in order]
    messages = []
    for action, start in starts.items():
        end = start + costs.of(action)
        messages += [(end, message) for message in _messages_after(action, crossing)]
    # A message stands where its content is ready; two at one time are told apart by number.
    messages.sort(key=lambda entry: (entry[0], entry[1]))
    for number, (end, (kind, source, target, k)) in enumerate(messages):
        giver, taker = placement[source], placement[target]
        place = (end, 0, number)
        keyed[giver].append((place, Send(kind, source, target, k, taker)))
        keyed[taker].append((place, Receive(kind, source, target, k, giver)))
    ranks = tuple(
        tuple(action for _, action in sorted(entries, key=lambda entry: entry[0]))
        for entries in keyed
    )
    micro_batches = max(action.micro_batch for action in orders[0]) + 1
    return Schedule(name, placement, micro_batches, ranks, in_flight)


def _messages_after(
    action: Compute, links: Sequence[tuple[str, int, int]]
) -> list[tuple[str, int, int, int]]:
    """Return (kind, source, target, micro-batch) of what a computation makes for other ranks."""
    c, k = action.chunk, action.micro_batch
    if isinstance(action, Forward):
        return [(kind, c, target, k) for kind, source, target in links if source == c]
    if isinstance(action, BackwardWeight):
        return []
    names: Mapping[str, str] = {"activation": "gradient", "skip": "skip_gradient"}
    return [(names[kind], c, source, k) for kind, source, target in links if target == c]


def _play(
    orders: Sequence[Sequence[Compute]], links: set[tuple[str, int, int]], costs: RelativeCosts
) -> dict[Compute, float]:
    """Return when each computation starts if messages take no time."""
    split = any(isinstance(action, BackwardInput) for order in orders for action in order)
    backward = BackwardInput if split else Backward
    starts: dict[Compute, float] = {}
    position, free = [0] * len(orders), [0.0] * len(orders)

    def needs(action: Compute) -> list[Compute]:
        c, k = action.chunk, action.micro_batch
        if isinstance(action, Forward):
            return [Forward(source, k) for _, source, target in links if target == c]
        if isinstance(action, BackwardWeight):
            return [BackwardInput(c, k)]
        return [Forward(c, k), *(backward(target, k) for _, source, target in links if source == c)]

    remaining = sum(map(len, orders))
    while remaining:
        before = remaining
        for rank, order in enumerate(orders):
            while position[rank] < len(order):
                action = order[position[rank]]
                needed = needs(action)
                if not all(need in starts for need in needed):
                    break
                ready = [starts[need] + costs.of(need) for need in needed]
                starts[action] = max([free[rank], *ready])
                free[rank] = starts[action] + costs.of(action)
                position[rank] += 1
                remaining -= 1
        assert remaining < before, "the orders of the ranks wait for each other"
    return starts


def micro_batches_of(*, samples: int, largest: int, stages: int) -> int:
    """Return into how many micro-batches a rank cuts its samples.

    As few as keep a micro-batch within `largest` samples; with stages, of those that also number
    2p-1, from where on a folded pipeline idles least; or one sample each if there are fewer.
    """
    counts = [n for n in range(1, samples + 1) if samples % n == 0 and samples // n <= largest]
    enough = 2 * stages - 1 if stages > 1 else 1
    return next((n for n in counts if n >= enough), counts[-1])
