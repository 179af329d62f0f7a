"""Seconds and bytes of a pipeline's parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpc.pipeline.actions import Backward, BackwardInput, BackwardWeight, Compute, Forward


@dataclass(frozen=True, kw_only=True)
class StageCosts:
    """Seconds and bytes of a pipeline's parts, by chunk.

    Attributes:
        forward: seconds of each chunk's forward pass.
        backward: seconds of each chunk's backward pass, recomputation included.
        backward_input, backward_weight: seconds of its halves; only for split schedules.
        message_bytes: bytes between two chunks (lower number first), for activations and skips and
            their gradients; what is not named takes no time to carry.
        bandwidth: bytes a second of a rank's link outwards.
        latency: seconds of an empty message.
        host: seconds that the host is busy with a send or a receive, or with starting a chunk.
    """

    forward: tuple[float, ...]
    backward: tuple[float, ...]
    backward_input: tuple[float, ...] = ()
    backward_weight: tuple[float, ...] = ()
    message_bytes: Mapping[tuple[int, int], float] = field(default_factory=dict)
    bandwidth: float = float("inf")
    latency: float = 0.0
    host: float = 0.0

    def of(self, action: Compute) -> float:
        """Return the seconds of a computation."""
        times = {
            Forward: self.forward,
            Backward: self.backward,
            BackwardInput: self.backward_input,
            BackwardWeight: self.backward_weight,
        }[type(action)]
        return times[action.chunk] + self.host

    def carry(self, source: int, target: int) -> float:
        """Return the seconds of a message between chunks on two ranks."""
        size = self.message_bytes.get((min(source, target), max(source, target)), 0.0)
        return self.latency + size / self.bandwidth


def equal_chunks(chunks: int) -> StageCosts:
    """Return costs for chunks that are alike: a backward pass is 3 forward passes.

    Its halves, which both compute the forward pass again, are 2 and 3.
    """
    return StageCosts(
        forward=(1.0,) * chunks,
        backward=(3.0,) * chunks,
        backward_input=(2.0,) * chunks,
        backward_weight=(3.0,) * chunks,
    )
