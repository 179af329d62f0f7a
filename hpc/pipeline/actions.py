"""The actions that a schedule is made of."""

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
