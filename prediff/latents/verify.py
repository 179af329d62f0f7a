"""Looks at a whole group: is every byte what its builder wrote? Drops what is not."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpc.build_lease import Builder, BuildLease, builders_at_work
from hpc.durable_files import flush_folder, storage_errors_as_advice
from hpc.errors import UserError
from prediff.latents.layout import (
    DamagedDocumentError,
    StoreLayout,
    group_documents,
    read_event_ids,
    read_layout,
)
from prediff.latents.manifest import (
    MANIFEST,
    find_damage,
    marked_shards,
    marker_file,
)


@dataclass(frozen=True, kw_only=True)
class GroupCheck:
    """What `verify_group` found.

    Attributes:
        layout: None if the group's own document is damaged; then nothing else can be checked.
        documents: what is wrong with zarr's documents and the event ids, a line each.
        shards: what is wrong with a shard, by its number.
    """

    group: Path
    layout: StoreLayout | None
    documents: tuple[str, ...]
    shards: dict[int, str]

    @property
    def whole(self) -> bool:
        return not self.documents and not self.shards


@dataclass(frozen=True, kw_only=True)
class GroupInfo:
    """What `describe_group` knows without reading the shards."""

    group: Path
    layout: StoreLayout
    shards_present: int
    bytes_present: int
    builders: tuple[Builder, ...]


def describe_group(group: Path) -> GroupInfo:
    """Return shapes, hashes, size and progress of a group.

    Raises:
        UserError: the group's document is missing, damaged, or of another format version.
    """
    layout = _read_layout_or_advise(group)
    files = [
        array.shard_file(group, shard)
        for array in layout.arrays
        for shard in range(layout.num_shards)
    ]
    return GroupInfo(
        group=group,
        layout=layout,
        shards_present=len(marked_shards(group, layout)),
        bytes_present=sum(file.stat().st_size for file in files if file.exists()),
        builders=tuple(builders_at_work(group / MANIFEST)),
    )


def verify_group(group: Path, *, progress: Callable[[int, int], None] | None = None) -> GroupCheck:
    """Read every byte of a group and compare it with the sums of its builder.

    Args:
        group: a group's folder, from `layout.list_groups`.
        progress: called with (shards looked at, shards in all).

    Raises:
        UserError: the group was written in another format version.
    """
    try:
        layout = read_layout(group)
    except (FileNotFoundError, DamagedDocumentError):
        return GroupCheck(
            group=group,
            layout=None,
            documents=("zarr.json is missing or damaged",),
            shards={},
        )
    shards = {}
    for shard in range(layout.num_shards):
        damage = find_damage(group, layout, shard)
        if damage:
            shards[shard] = damage
        if progress:
            progress(shard + 1, layout.num_shards)
    return GroupCheck(
        group=group,
        layout=layout,
        documents=tuple(_damaged_documents(group, layout)),
        shards=shards,
    )


def drop_damaged(check: GroupCheck) -> None:
    """Delete the damaged shards that a check found, so that a builder makes them again.

    Documents are left: a builder rewrites those that are not as they should be.

    Raises:
        UserError: a builder is at work in this group.
    """
    if check.layout is None or not check.shards:
        return
    group = check.group
    with storage_errors_as_advice(group), BuildLease(group / MANIFEST, rank=0, world=1):
        for shard in check.shards:
            # The marker first: without it nobody reads the files.
            marker_file(group, shard).unlink(missing_ok=True)
        flush_folder(group / MANIFEST)
        for shard in check.shards:
            for array in check.layout.arrays:
                array.shard_file(group, shard).unlink(missing_ok=True)


def _damaged_documents(group: Path, layout: StoreLayout) -> list[str]:
    try:
        event_ids = read_event_ids(group, layout)
    except DamagedDocumentError:
        return ["the event ids are missing or damaged"]
    return [
        f"{name} is missing or damaged"
        for name, data in group_documents(layout, event_ids).items()
        if not (group / name).is_file() or (group / name).read_bytes() != data
    ]


def _read_layout_or_advise(group: Path) -> StoreLayout:
    try:
        return read_layout(group)
    except FileNotFoundError:
        raise UserError(
            f"{group} was begun and has no zarr.json: run `prediff cache latents`"
        ) from None
