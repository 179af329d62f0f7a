"""Ranks as points of a data x pipeline mesh. Plain Python, no device.

Ranks of one pipeline are neighbours (rank = data_rank * pipeline + pipeline_rank), so that the
stages of a pipeline share a node as long as a node has at least ``pipeline`` devices: their
messages are on the critical path, gradient buckets are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hpc.errors import UserError


@dataclass(frozen=True)
class Mesh:
    """A ``data`` x ``pipeline`` grid of ranks.

    Every rank of the data axis has its own part of each global batch; every rank of the pipeline
    axis has its own part of the network.
    """

    data: int = 1
    pipeline: int = 1

    def __post_init__(self) -> None:
        assert self.data >= 1, "a mesh has at least one data rank"
        assert self.pipeline >= 1, "a mesh has at least one stage"

    @property
    def size(self) -> int:
        return self.data * self.pipeline

    def coordinates(self, rank: int) -> tuple[int, int]:
        """Return ``(data_rank, pipeline_rank)`` of a rank."""
        assert 0 <= rank < self.size, f"rank {rank} is not in {self}"
        return divmod(rank, self.pipeline)

    def rank_at(self, *, data_rank: int, pipeline_rank: int) -> int:
        """Return the rank that stands at these coordinates."""
        assert 0 <= data_rank < self.data, f"data rank {data_rank} is not in {self}"
        assert 0 <= pipeline_rank < self.pipeline, f"stage {pipeline_rank} is not in {self}"
        return data_rank * self.pipeline + pipeline_rank

    def data_group(self, rank: int) -> list[int]:
        """Return the ranks that hold the same part of the network: they average gradients."""
        _, pipeline_rank = self.coordinates(rank)
        return list(range(pipeline_rank, self.size, self.pipeline))

    def pipeline_group(self, rank: int) -> list[int]:
        """Return the ranks that together hold one network, in stage order."""
        data_rank, _ = self.coordinates(rank)
        start = data_rank * self.pipeline
        return list(range(start, start + self.pipeline))

    def next_stage(self, rank: int) -> int | None:
        """Return the rank of the stage after this one, or None for the last."""
        return None if rank % self.pipeline == self.pipeline - 1 else rank + 1

    def previous_stage(self, rank: int) -> int | None:
        """Return the rank of the stage before this one, or None for the first."""
        return None if rank % self.pipeline == 0 else rank - 1

    def table(self, hosts: Sequence[str] | None = None) -> str:
        """Return who is who as text, one line a rank: rank, data rank, stage, host."""
        assert hosts is None or len(hosts) == self.size, "one host name a rank"
        lines = [f"mesh {self.data} x {self.pipeline} (data x pipeline), {self.size} ranks"]
        lines.append("rank  data  stage  host")
        for rank in range(self.size):
            data_rank, stage = self.coordinates(rank)
            host = hosts[rank] if hosts else "-"
            lines.append(f"{rank:4d}  {data_rank:4d}  {stage:5d}  {host}")
        return "\n".join(lines)


def make_mesh(*, ranks: int, pipeline: int = 1, global_batch: int, accumulation: int = 1) -> Mesh:
    """Return the mesh of all ranks for a number of stages.

    Args:
        ranks: processes of the job.
        pipeline: stages of a pipeline.
        global_batch: samples of one optimizer step over all ranks.
        accumulation: micro-batches into which every data rank cuts its part.

    Raises:
        UserError: the stages do not divide the ranks, or data ranks x accumulation do not divide
            the global batch; the message names values that work.
    """
    if pipeline < 1 or ranks % pipeline:
        raise UserError(
            f"{pipeline} pipeline stages do not divide {ranks} ranks: "
            f"use one of {_divisors(ranks)} stages"
        )
    if accumulation < 1 or global_batch < 1:
        raise UserError(
            f"a global batch of {global_batch} in {accumulation} micro-batches: "
            "both must be 1 or more"
        )
    data = ranks // pipeline
    parts = data * accumulation
    if global_batch % parts:
        works = [
            d * pipeline
            for d in _divisors(global_batch)
            if d < data and global_batch // d % accumulation == 0
        ]
        below, above = global_batch // parts * parts, -(-global_batch // parts) * parts
        batches = " or ".join(str(b) for b in (below, above) if b)
        advice = f"use a global batch of {batches}"
        if works:
            advice += f", or {', '.join(map(str, works))} ranks"
        raise UserError(
            f"a global batch of {global_batch} cannot be cut into {data} data ranks x "
            f"{accumulation} micro-batches: {advice}"
        )
    return Mesh(data=data, pipeline=pipeline)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
