"""Which rank of a pipeline holds which parameters, and the buckets of their gradients.

A parameter that chunks on several ranks use is tied: each has a copy, and the copies stay equal
because their gradients are summed over the holders before every update. Buckets are made of
parameters with the same users, so that a bucket has one set of holders and is laid out alike on
all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpc.pipeline.actions import Placement
from hpc.train.buckets import FlatLayout, make_layout

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class StageParameters:
    """What one rank holds, as buckets."""

    layout: FlatLayout
    users: tuple[tuple[int, ...], ...]
    """The chunks that use each bucket's parameters, on any rank."""
    placement: Placement
    rank: int

    def holders(self, bucket: int) -> tuple[int, ...]:
        """Return the ranks of the pipeline that hold a bucket's parameters."""
        return tuple(sorted({self.placement[c] for c in self.users[bucket]}))

    def is_owned(self, bucket: int) -> bool:
        """Whether this rank counts and saves the bucket for all of its holders."""
        return self.holders(bucket)[0] == self.rank

    @property
    def owned_names(self) -> list[str]:
        return [
            name
            for b, names in enumerate(self.layout.buckets)
            if self.is_owned(b)
            for name in names
        ]

    def of_chunk(self, chunk: int) -> tuple[FlatLayout, list[int]]:
        """Return the layout of the buckets that a chunk adds to, and their numbers."""
        numbers = [b for b, users in enumerate(self.users) if chunk in users]
        buckets = tuple(self.layout.buckets[b] for b in numbers)
        shapes = {name: self.layout.shapes[name] for names in buckets for name in names}
        layout = FlatLayout(shapes=shapes, buckets=buckets, row_multiple=self.layout.row_multiple)
        return layout, numbers


def make_stage_parameters(
    parameters: Sequence[Shapes],
    *,
    placement: Placement,
    rank: int,
    bucket_bytes: int,
    row_multiple: int = 1,
) -> StageParameters:
    """Return what a rank holds.

    Args:
        parameters: shapes by canonical name of every chunk of the pipeline.
        placement: rank of each chunk.
        rank: this rank's place in the pipeline.
        bucket_bytes: largest bucket.
        row_multiple: see `FlatLayout`.
    """
    users_of: dict[str, list[int]] = {}
    for c, shapes in enumerate(parameters):
        for name in shapes:
            users_of.setdefault(name, []).append(c)
    alike: dict[tuple[int, ...], dict[str, tuple[int, ...]]] = {}
    for name, chunks in sorted(users_of.items()):
        if any(placement[c] == rank for c in chunks):
            alike.setdefault(tuple(chunks), {})[name] = parameters[chunks[0]][name]
    buckets: list[tuple[str, ...]] = []
    users: list[tuple[int, ...]] = []
    shapes = {}
    for chunks_alike, group in sorted(alike.items()):
        parts = make_layout(group, bucket_bytes=bucket_bytes).buckets
        buckets += parts
        users += [chunks_alike] * len(parts)
        shapes.update(group)
    layout = FlatLayout(shapes=shapes, buckets=tuple(buckets), row_multiple=row_multiple)
    return StageParameters(layout=layout, users=tuple(users), placement=placement, rank=rank)
