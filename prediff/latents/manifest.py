"""A marker a shard: the promise that its files are whole, with the sums to prove it.

zarr has no such thing: to it a shard that is absent is a shard of fill values. A marker is written
after the files of its shard are in place and on the disk. Whoever finds no marker finds no shard.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from hpc.durable_files import write_durably
from prediff.latents.layout import StoreLayout
from prediff.latents.shard_file import ShardFileRecord, hash_file

MANIFEST = "manifest"


@dataclass(frozen=True, kw_only=True)
class ShardMarker:
    """What a marker says: the layout that the shard belongs to, and its file in each array."""

    layout_sha256: str
    files: dict[str, ShardFileRecord]


def marker_file(group: Path, shard: int) -> Path:
    """Return where the marker of a shard is."""
    return group / MANIFEST / f"shard_{shard:06d}.json"


def marked_shards(group: Path, layout: StoreLayout) -> list[int]:
    """Return the shards that have a marker, of whatever content."""
    names = {file.name for file in (group / MANIFEST).glob("shard_*.json")}
    return [shard for shard in range(layout.num_shards) if marker_file(group, shard).name in names]


def write_marker(group: Path, shard: int, marker: ShardMarker) -> None:
    """Put the marker of a shard in place, durably."""
    write_durably(marker_file(group, shard), json.dumps(asdict(marker)).encode())


def read_marker(group: Path, layout: StoreLayout, shard: int) -> ShardMarker | None:
    """Return a shard's marker, or None if it is absent, unreadable, or of another layout."""
    try:
        fields = json.loads(marker_file(group, shard).read_bytes())
        files = {
            name: ShardFileRecord(
                size=int(record["size"]),
                sha256=str(record["sha256"]),
                event_crc32c=tuple(int(crc) for crc in record["event_crc32c"]),
            )
            for name, record in fields["files"].items()
        }
        marker = ShardMarker(layout_sha256=fields["layout_sha256"], files=files)
    except (FileNotFoundError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError):
        return None
    events = len(layout.shard_events(shard))
    if (
        marker.layout_sha256 != layout.sha256
        or set(files) != {array.name for array in layout.arrays}
        or any(len(record.event_crc32c) != events for record in files.values())
    ):
        return None
    return marker


def sizes_differ(group: Path, layout: StoreLayout, shard: int, marker: ShardMarker) -> str | None:
    """Return which file is absent or not as long as its marker says, if any is."""
    for array in layout.arrays:
        file = array.shard_file(group, shard)
        try:
            size = file.stat().st_size
        except FileNotFoundError:
            return f"{array.name}/{file.name} is missing"
        expected = marker.files[array.name].size
        if size != expected:
            return f"{array.name}/{file.name} has {size} bytes instead of {expected}"
    return None


def missing_shards(group: Path, layout: StoreLayout) -> list[int]:
    """Return the shards that have no valid marker, or files that are not as long as it says."""
    missing = []
    for shard in range(layout.num_shards):
        marker = read_marker(group, layout, shard)
        if marker is None or sizes_differ(group, layout, shard, marker):
            missing.append(shard)
    return missing


def find_damage(group: Path, layout: StoreLayout, shard: int) -> str | None:
    """Read a whole shard and return what is wrong with it, or None if it is as it was written."""
    marker = read_marker(group, layout, shard)
    if marker is None:
        there = marker_file(group, shard).exists()
        return f"its marker is {'damaged or of another store' if there else 'missing'}"
    problem = sizes_differ(group, layout, shard, marker)
    if problem:
        return problem
    for array in layout.arrays:
        file = array.shard_file(group, shard)
        if hash_file(file) != marker.files[array.name].sha256:
            return f"{array.name}/{file.name} has another SHA-256 than when it was written"
    return None
