"""Who does what when: schedules as lists of actions for each rank of a pipeline.

A network is a chain of chunks; a placement says which rank holds each. Plain pipelines have p
chunks, one a rank. Folded ones have 2p: rank r holds chunk r, on the way down a U-Net, and chunk
2p-1-r, on the way up, so that skips never leave their rank and both ends meet on rank 0.

Every schedule is made in two steps: the order of each rank's computations, then the messages
between them (hpc/pipeline/messages.py). All makers take

- `costs`: times by which computations are put in order; equal chunks if None;
- `blocking`: whether a send may wait for its receive. True is free of deadlocks with any backend,
  False hides more latency where sends are buffered.

Source: GPipe, Huang et al. 2019; 1F1B, Narayanan et al. 2019; backward passes in two halves, Qi et
al. 2024 ("Zero bubble"); V-shaped placement, Qi et al. 2024 ("Controllable memory").
"""

from collections.abc import Sequence
from heapq import heappop, heappush

from hpc.pipeline.actions import (
    Backward,
    BackwardInput,
    BackwardWeight,
    Compute,
    Forward,
    Placement,
    Schedule,
)
from hpc.pipeline.costs import StageCosts, equal_chunks
from hpc.pipeline.messages import Wiring, add_messages, start_times


def plain_placement(stages: int) -> Placement:
    """Return one chunk a rank."""
    return tuple(range(stages))


def folded_placement(stages: int) -> Placement:
    """Return chunks 0..p-1 on ranks 0..p-1 and p..2p-1 on p-1..0."""
    return (*range(stages), *reversed(range(stages)))


def gpipe(*, placement: Placement, micro_batches: int, blocking: bool = True) -> Schedule:
    """Return GPipe: all forward passes, then all backward passes in reverse."""
    orders: list[list[Compute]] = []
    numbers = range(micro_batches)
    for rank in range(max(placement) + 1):
        chunks = [c for c, holder in enumerate(placement) if holder == rank]
        forwards: list[Compute] = [Forward(c, k) for c in chunks for k in numbers]
        orders.append(forwards + [Backward(c, k) for c in reversed(chunks) for k in numbers])
    return _complete("GPipe", placement, orders, in_flight=micro_batches, blocking=blocking)


def forward_only(*, placement: Placement, micro_batches: int, blocking: bool = True) -> Schedule:
    """Return one forward pass of every micro-batch, each as early as possible."""
    orders: list[list[Compute]] = [[] for _ in range(max(placement) + 1)]
    for wave in range(micro_batches + len(placement) - 1):
        for c in reversed(range(len(placement))):
            if 0 <= wave - c < micro_batches:
                orders[placement[c]].append(Forward(c, wave - c))
    return _complete("forward only", placement, orders, in_flight=micro_batches, blocking=blocking)


def one_forward_one_backward(
    *,
    stages: int,
    micro_batches: int,
    skips: Sequence[tuple[int, int]] = (),
    costs: StageCosts | None = None,
    blocking: bool = True,
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
        "1F1B",
        plain_placement(stages),
        orders,
        in_flight=min(stages, micro_batches),
        skips=skips,
        costs=costs,
        blocking=blocking,
    )


def folded_one_forward_one_backward(
    *,
    stages: int,
    micro_batches: int,
    in_flight: int | None = None,
    costs: StageCosts | None = None,
    blocking: bool = True,
) -> Schedule:
    """Return 1F1B over the 2p chunks of a folded pipeline.

    Each rank always does the first thing that it can: a forward pass, the deepest first, or
    else a backward pass. What keeps this from being GPipe is that a micro-batch enters only while
    fewer than `in_flight` are inside. With 2p-1 and equal chunks the idle time of a rank is
    (p-1)(f+b) for chunk times f and b, which is the least possible (the way of the first
    micro-batch to the last rank, and of the last one back) from 2p-1 micro-batches on, and half of
    what p chunks of twice the size cost. Fewer in flight keep fewer inputs and idle longer.

    Args:
        in_flight: None is 2p-1; with `costs` the better of 2p-1 and 2p.
    """
    return _folded("folded 1F1B", stages, micro_batches, in_flight, costs, blocking, split=False)


def folded_split_backward(
    *,
    stages: int,
    micro_batches: int,
    in_flight: int | None = None,
    costs: StageCosts | None = None,
    blocking: bool = True,
) -> Schedule:
    """Return folded 1F1B with backward passes in two halves; weight halves fill idle time.

    It pays where the halves together cost little more than the whole, that is where activations
    are kept. With recomputation each half computes the forward pass again.
    """
    return _folded(
        "folded split backward", stages, micro_batches, in_flight, costs, blocking, split=True
    )


def _folded(
    name: str,
    stages: int,
    micro_batches: int,
    in_flight: int | None,
    costs: StageCosts | None,
    blocking: bool,
    *,
    split: bool,
) -> Schedule:
    placement = folded_placement(stages)
    wiring = Wiring(placement, (), split=split)
    equal = equal_chunks(2 * stages)
    # The order for equal chunks interlocks without a gap; the one for the true times may be better
    # or not. A micro-batch more in flight covers the time that messages take.
    rules = [equal] if costs is None else [equal, costs]
    most = 2 * stages - 1
    limits = [in_flight] if in_flight else [most] if costs is None else [most, most + 1]
    found = []
    for rule in rules:
        for limit in dict.fromkeys(min(limit, micro_batches) for limit in limits):
            orders = _order_greedily(wiring, micro_batches, limit, rule)
            starts = start_times(orders, wiring, costs or equal)
            length = max(start + (costs or equal).of(action) for action, start in starts.items())
            found.append((length, limit, orders))
    _, limit, orders = min(found, key=lambda option: option[:2])
    return _complete(
        name, placement, orders, in_flight=limit, costs=costs, blocking=blocking, split=split
    )


def _order_greedily(
    wiring: Wiring, micro_batches: int, limit: int, costs: StageCosts
) -> list[list[Compute]]:
    """Let every rank do the first thing that it can; ties go forward, then to the deepest chunk."""
    placement, chunks = wiring.placement, len(wiring.placement)
    split = wiring.backward is BackwardInput
    kinds = (Forward, BackwardInput, BackwardWeight) if split else (Forward, Backward)
    release = kinds[-1]
    counts = {(kind, c): 0 for kind in kinds for c in range(chunks)}
    ends: dict[Compute, float] = {}
    free = [0.0] * (max(placement) + 1)
    live = [0] * len(free)
    orders: list[list[Compute]] = [[] for _ in free]

    waiting: dict[Compute, list[tuple[type[Compute], int]]] = {}
    on_rank: list[list[tuple[type[Compute], int]]] = [[] for _ in free]
    Choice = tuple[float, int, int, int, int, int]  # start, kind, depth, rank, chunk, micro-batch
    heap: list[Choice] = []
    best: dict[tuple[type[Compute], int], Choice | None] = {}

    def ready(action: Compute) -> float | None:
        """Return when a computation has what it needs, None if that is not known yet."""
        c, k = action.chunk, action.micro_batch
        needed = wiring.needs(action)
        if isinstance(action, Forward) and c == 0 and k >= limit:
            needed.append((release(0, k - limit), None))
        # Weight halves, which nobody waits for, must not pile up inputs either.
        if isinstance(action, Forward) and live[placement[c]] == 2 * limit:
            return None
        missing = next((need for need, _ in needed if need not in ends), None)
        if missing is not None:
            waiting.setdefault(missing, []).append((type(action), c))
            return None
        times = [ends[need] + (costs.carry(*m[1:3]) if m else 0.0) for need, m in needed]
        return max([0.0, *times])

    def consider(kind: type[Compute], c: int) -> None:
        """Look again when the next computation of a kind and chunk can start."""
        best[kind, c] = None
        if (k := counts[kind, c]) == micro_batches:
            return
        rank, when = placement[c], ready(kind(c, k))
        if when is not None:
            depth = -c if kind is Forward else c
            choice = (max(free[rank], when), kinds.index(kind), depth, rank, c, k)
            best[kind, c] = choice
            heappush(heap, choice)

    for kind, c in counts:
        on_rank[placement[c]].append((kind, c))
        consider(kind, c)
    for _ in range(len(kinds) * chunks * micro_batches):
        choice = heappop(heap)
        while choice != best[kinds[choice[1]], choice[4]]:  # looked at again since
            choice = heappop(heap)
        start, number, _, rank, c, k = choice
        action = kinds[number](c, k)
        ends[action] = free[rank] = start + costs.of(action)
        orders[rank].append(action)
        live[rank] += (type(action) is Forward) - (type(action) is release)
        counts[type(action), action.chunk] += 1
        for kind, c in dict.fromkeys([*on_rank[rank], *waiting.pop(action, ())]):
            consider(kind, c)
    return orders


def _complete(
    name: str,
    placement: Placement,
    orders: Sequence[Sequence[Compute]],
    *,
    in_flight: int,
    blocking: bool,
    skips: Sequence[tuple[int, int]] = (),
    costs: StageCosts | None = None,
    split: bool = False,
) -> Schedule:
    costs = costs or equal_chunks(len(placement))
    wiring = Wiring(placement, skips, split=split)
    ranks = add_messages(orders, wiring, costs, blocking=blocking)
    micro_batches = max(action.micro_batch for action in orders[0]) + 1
    return Schedule(name, placement, micro_batches, ranks, in_flight)


def micro_batches_of(*, samples: int, largest: int, stages: int) -> int:
    """Return into how many micro-batches a rank cuts its samples.

    As few as keep a micro-batch within `largest` samples; with stages, of those that also number
    2p-1, from where on a folded pipeline idles least; or one sample each if there are fewer.
    """
    counts = [n for n in range(1, samples + 1) if samples % n == 0 and samples // n <= largest]
    enough = 2 * stages - 1 if stages > 1 else 1
    return next((n for n in counts if n >= enough), counts[-1])
