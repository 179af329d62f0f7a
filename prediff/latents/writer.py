"""Builds a group of the latent store: each rank its shards, only those that are not whole.

A shard's files are written in the manifest's folder and flushed, then renamed into their arrays,
then its marker is written. A process that is killed at any moment leaves whole shards, whole shards
without a marker, or files that nobody reads; the next builder makes what has no valid marker.

Letters: T frames of an event, N frames of a batch, H W pixels, h w c the latent's.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hpc.build_lease import BuildLease, builders_at_work
from hpc.cluster.mpi import Ranks, SeparateRanks
from hpc.durable_files import (
    aside_path,
    flush_folder,
    move_durably,
    remove_leftovers,
    storage_errors_as_advice,
    write_durably,
)
from hpc.errors import UserError
from prediff.latents.encoding import Encode, EncodedEvent, ReadEvent, encode_events
from prediff.latents.layout import (
    DamagedDocumentError,
    StoreIdentity,
    StoreLayout,
    default_events_per_shard,
    group_documents,
    group_path,
    hash_event_ids,
    parent_documents,
    read_layout,
    refuse_other_layout,
)
from prediff.latents.manifest import (
    MANIFEST,
    ShardMarker,
    find_damage,
    marked_shards,
    marker_file,
    missing_shards,
    write_marker,
)
from prediff.latents.shard_file import ShardWriter, shard_file_size

PROGRESS_SECONDS = 1.0
KEPT = "the shards that are finished are kept"


@dataclass(frozen=True, kw_only=True)
class BuildProgress:
    """How far all ranks are together. ``frames_done`` counts what earlier builders left, too."""

    frames_done: int
    frames_total: int
    shards_done: int
    shards_total: int
    frames_per_second: float
    eta_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What this rank did. ``complete``: all shards of all ranks have their markers."""

    group: Path
    layout: StoreLayout
    shards_kept: int
    shards_computed: int
    complete: bool


def build_store(
    path: str | Path,
    *,
    identity: StoreIdentity,
    variant: str,
    event_ids: Sequence[str],
    num_frames: int,
    latent_shape: tuple[int, int, int],
    read_event: ReadEvent,
    encode: Encode,
    batch_frames: int,
    events_per_shard: int | None = None,
    ranks: Ranks | None = None,
    progress: Callable[[BuildProgress], None] | None = None,
) -> BuildReport:
    """Build one group of the store at ``path``, or what is missing or damaged of it.

    Shards ``rank::size`` are this rank's. Shards that exist are read once and compared with the
    SHA-256 in their markers.

    Args:
        path: the store's folder, made if absent.
        identity: data set, and SHA-256 of the VAE's weights and of the catalog.
        variant: name of the augmentation that ``read_event`` applies; ``"identity"`` for none.
        event_ids: the name of each event; its position is its number.
        num_frames: frames T of an event.
        latent_shape: (h, w, c).
        read_event: event number -> frames ``[T, H, W, 1]`` in [0, 1]; called in another thread.
        encode: frames ``[N, H, W, 1]`` float32 -> mean and standard deviation ``[N, h, w, c]``;
            called with one N only.
        batch_frames: the most frames N.
        events_per_shard: None for that of the existing group, or a default by size.
        ranks: who builds together (`mpi.started_ranks`); None for this process alone.
        progress: called on rank 0, about once a second.

    Raises:
        UserError: a group of another VAE, catalog or shape is there; another builder is at work;
            no room on the disk; broken frames or latents. Nothing that was whole is lost.
    """
    ranks = ranks or SeparateRanks()
    if not event_ids:
        raise UserError(f"no events to cache for data set {identity.dataset!r}")
    if len(set(event_ids)) != len(event_ids):
        raise UserError(f"data set {identity.dataset!r} names an event twice")
    group = group_path(path, identity=identity, variant=variant)
    layout = _choose_layout(
        group,
        identity=identity,
        variant=variant,
        event_ids=event_ids,
        num_frames=num_frames,
        latent_shape=latent_shape,
        events_per_shard=events_per_shard,
    )
    with storage_errors_as_advice(group, kept=KEPT), ExitStack() as stack:
        for folder in (MANIFEST, "event", *(array.name for array in layout.arrays)):
            (group / folder).mkdir(parents=True, exist_ok=True)
        # Rank 0 first: of two builders that start at once, one gets all its ranks in.
        if ranks.rank > 0:
            ranks.barrier()
        sign = stack.enter_context(BuildLease(group / MANIFEST, rank=ranks.rank, world=ranks.size))
        if ranks.rank == 0:
            ranks.barrier()
            _write_documents(Path(path), group, layout, event_ids)
            _refuse_without_room(group, layout)
        watch = _ProgressWatch(group, layout, progress if ranks.rank == 0 else None)

        def on_batch(frames: int) -> None:
            sign.report(progress=frames)
            watch.look()

        mine = range(ranks.rank, layout.num_shards, ranks.size)
        computed = 0
        for shard in mine:
            remove_leftovers(
                group / MANIFEST, f"{marker_file(group, shard).stem}.*", sole_writer=True
            )
            if find_damage(group, layout, shard) is None:
                continue
            encoded = encode_events(
                layout=layout,
                event_ids=event_ids,
                events=layout.shard_events(shard),
                read_event=read_event,
                encode=encode,
                batch_frames=batch_frames,
                on_batch=on_batch,
            )
            _build_shard(group, layout, shard, encoded, sign)
            sign.report(progress=0)
            computed += 1
        ranks.barrier(watch.look)
        watch.look(now=True)
        return BuildReport(
            group=group,
            layout=layout,
            shards_kept=len(mine) - computed,
            shards_computed=computed,
            complete=not missing_shards(group, layout),
        )


def _choose_layout(
    group: Path,
    *,
    identity: StoreIdentity,
    variant: str,
    event_ids: Sequence[str],
    num_frames: int,
    latent_shape: tuple[int, int, int],
    events_per_shard: int | None,
) -> StoreLayout:
    """Return the layout to build, that of the group if one is there.

    Raises:
        UserError: the group that is there is another one; the line names both values.
    """
    try:
        existing = read_layout(group)
    except (FileNotFoundError, DamagedDocumentError):
        existing = None
    if events_per_shard is None:
        events_per_shard = (
            existing.events_per_shard
            if existing
            else default_events_per_shard(
                num_events=len(event_ids), num_frames=num_frames, latent_shape=latent_shape
            )
        )
    wanted = StoreLayout(
        dataset=identity.dataset,
        variant=variant,
        vae_sha256=identity.vae_sha256,
        catalog_sha256=identity.catalog_sha256,
        events_sha256=hash_event_ids(event_ids),
        num_events=len(event_ids),
        num_frames=num_frames,
        latent_shape=latent_shape,
        events_per_shard=events_per_shard,
    )
    if existing is not None:
        refuse_other_layout(group, found=existing, expected=wanted)
    return wanted


def _write_documents(
    path: Path, group: Path, layout: StoreLayout, event_ids: Sequence[str]
) -> None:
    """Write the zarr documents that are missing or not as they should be."""
    documents = parent_documents(path, group) | {
        group / name: data for name, data in group_documents(layout, event_ids).items()
    }
    for file, data in documents.items():
        if not file.is_file() or file.read_bytes() != data:
            remove_leftovers(file.parent, file.name, sole_writer=True)
            write_durably(file, data)


def _refuse_without_room(group: Path, layout: StoreLayout) -> None:
    missing = set(range(layout.num_shards)) - set(marked_shards(group, layout))
    needed = sum(
        shard_file_size(
            array,
            events=len(layout.shard_events(shard)),
            events_per_shard=layout.events_per_shard,
        )
        for shard in missing
        for array in layout.arrays
    )
    free = shutil.disk_usage(group).free
    if needed > free:
        raise UserError(
            f"{group} needs {needed / 1e9:.3g} GB more, the disk has {free / 1e9:.3g} GB free: "
            "free some space or choose another folder"
        )


def _build_shard(
    group: Path,
    layout: StoreLayout,
    shard: int,
    encoded: Iterator[EncodedEvent],
    sign: BuildLease,
) -> None:
    stem = marker_file(group, shard).with_suffix("")
    aside = {array.name: aside_path(stem.with_suffix(f".{array.name}")) for array in layout.arrays}
    writers: dict[str, ShardWriter] = {}
    try:
        for array in layout.arrays:
            writers[array.name] = ShardWriter(
                aside[array.name], array=array, events_per_shard=layout.events_per_shard
            )
        for event in encoded:
            for name, writer in writers.items():
                writer.append(getattr(event, name))
        records = {name: writer.finish() for name, writer in writers.items()}
        sign.check_still_mine()
        marker_file(group, shard).unlink(missing_ok=True)
        flush_folder(group / MANIFEST)
        for array in layout.arrays:
            move_durably(aside[array.name], array.shard_file(group, shard))
        write_marker(group, shard, ShardMarker(layout_sha256=layout.sha256, files=records))
    finally:
        for writer in writers.values():
            writer.close()
        for file in aside.values():  # also one whose writer was interrupted while it opened it
            file.unlink(missing_ok=True)


class _ProgressWatch:
    """Sums up what the markers and the signs of life say, at most once a second."""

    def __init__(
        self, group: Path, layout: StoreLayout, tell: Callable[[BuildProgress], None] | None
    ) -> None:
        self._group = group
        self._layout = layout
        self._tell = tell
        self._start = self._last = time.monotonic()
        self._frames_at_start = self._count()[1] if tell else 0

    def look(self, *, now: bool = False) -> None:
        clock = time.monotonic()
        if self._tell is None or (clock - self._last < PROGRESS_SECONDS and not now):
            return
        self._last = clock
        shards, frames = self._count()
        rate = max(0, frames - self._frames_at_start) / max(clock - self._start, 1e-9)
        total = self._layout.num_events * self._layout.num_frames
        self._tell(
            BuildProgress(
                frames_done=frames,
                frames_total=total,
                shards_done=shards,
                shards_total=self._layout.num_shards,
                frames_per_second=rate,
                eta_seconds=(total - frames) / rate if rate else None,
            )
        )

    def _count(self) -> tuple[int, int]:
        done = marked_shards(self._group, self._layout)
        events = sum(len(self._layout.shard_events(shard)) for shard in done)
        partial = sum(builder.progress for builder in builders_at_work(self._group / MANIFEST))
        total = self._layout.num_events * self._layout.num_frames
        return len(done), min(events * self._layout.num_frames + partial, total)
