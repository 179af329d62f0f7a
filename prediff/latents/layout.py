"""What a latent store looks like on disk: group names, attributes, zarr documents.

A store is a zarr v3 hierarchy with one group a (data set, VAE, augmentation variant):

    latents.zarr/zarr.json
    latents.zarr/<dataset>/vae_<12 hex digits>/<variant>/
        zarr.json                 the attributes of `StoreLayout`, consolidated metadata
        event/                    the E event ids, a coordinate
        mean/  std/               [E, T, h, w, c] float16, the posterior before scale_factor
        intensity/                [E, T] float32, mean pixel value of the frame in [0, 1]
        manifest/                 our records, not zarr: a marker a shard, builders' signs of life

An event is a chunk, `events_per_shard` events are a shard (one file), no compression: latents
shrink by 5-8 % only. Every chunk and every shard index carries a CRC-32C that any zarr reader
checks. Chunks that are not there yet read as NaN in other tools, never as plausible zeros.

The documents are written here rather than by the zarr library, so that they are a pure function of
the layout: every builder writes the same bytes, whichever version it runs, and can compare them.

Letters: E events, T frames of an event, h w c the latent's height, width and channels.
"""

import hashlib
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpc.errors import UserError

FORMAT_VERSION = 1
PAGE = 4096  # large events start at a page: copies between aligned buffers are twice as fast
CACHE_LINE = 64
SHARD_BYTES = 64 * 2**20  # of one array: 255 shards for the 20 393 events of SEVIR
FEWEST_SHARDS = 64  # so that a small data set still gives many ranks work

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ATTRIBUTE_NAMES = {
    "dataset": "data set",
    "variant": "variant",
    "vae_sha256": "VAE",
    "catalog_sha256": "catalog",
    "events_sha256": "event list",
    "num_events": "number of events",
    "num_frames": "number of frames",
    "latent_shape": "latent shape",
    "events_per_shard": "events per shard",
}
_CRC32C = {"name": "crc32c"}
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


class DamagedDocumentError(UserError):
    """A document of the store is not what its builder wrote; a builder can write it again."""


@dataclass(frozen=True, kw_only=True)
class StoreIdentity:
    """Whose latents: a data set's name, SHA-256 of the VAE's weights and of the catalog."""

    dataset: str
    vae_sha256: str
    catalog_sha256: str

    def __post_init__(self) -> None:
        check_name("data set", self.dataset)
        for key in ("vae_sha256", "catalog_sha256"):
            assert _SHA256.fullmatch(getattr(self, key)), f"{key} is no SHA-256 in hex digits"


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """One array of the store: ``item_shape`` is the shape of an event."""

    name: str
    dtype: str
    item_shape: tuple[int, ...]
    dimensions: tuple[str, ...]

    @property
    def item_bytes(self) -> int:
        return int(np.prod(self.item_shape)) * np.dtype(self.dtype).itemsize

    @property
    def alignment(self) -> int:
        """Where events may start in a shard, in bytes; pages only where they waste little."""
        return PAGE if self.item_bytes >= 16 * PAGE else CACHE_LINE

    def shard_file(self, group: Path, shard: int) -> Path:
        return group / self.name / ".".join(["c", str(shard), *["0"] * len(self.item_shape)])


@dataclass(frozen=True, kw_only=True)
class StoreLayout:
    """Everything that fixes the bytes of a group; its hash stands in every shard's marker."""

    dataset: str
    variant: str
    vae_sha256: str
    catalog_sha256: str
    events_sha256: str
    num_events: int
    num_frames: int
    latent_shape: tuple[int, int, int]
    events_per_shard: int

    @property
    def identity(self) -> StoreIdentity:
        return StoreIdentity(
            dataset=self.dataset, vae_sha256=self.vae_sha256, catalog_sha256=self.catalog_sha256
        )

    @property
    def arrays(self) -> tuple[ArraySpec, ...]:
        mean = ArraySpec(
            name="mean",
            dtype="float16",
            item_shape=(self.num_frames, *self.latent_shape),
            dimensions=("event", "frame", "h", "w", "c"),
        )
        intensity = ArraySpec(
            name="intensity",
            dtype="float32",
            item_shape=(self.num_frames,),
            dimensions=("event", "frame"),
        )
        return mean, replace(mean, name="std"), intensity

    @property
    def num_shards(self) -> int:
        return -(-self.num_events // self.events_per_shard)

    def shard_events(self, shard: int) -> range:
        """Return the events that a shard holds; the last one may be shorter."""
        first = shard * self.events_per_shard
        return range(first, min(first + self.events_per_shard, self.num_events))

    @property
    def bytes_per_event(self) -> int:
        return sum(array.item_bytes for array in self.arrays)

    @property
    def sha256(self) -> str:
        text = json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def attributes(self) -> dict[str, Any]:
        """Return the group's attributes; ``layout_sha256`` shows later that none was altered."""
        fields = asdict(self) | {"latent_shape": list(self.latent_shape)}
        return {"format_version": FORMAT_VERSION, **fields, "layout_sha256": self.sha256}


def check_name(what: str, name: str) -> None:
    """Refuse a data set or variant name that cannot be a folder.

    Raises:
        UserError: the name is not of lower-case letters, digits, ``_``, ``-`` and ``.``.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{what} name {name!r} cannot name a zarr group: use lower-case letters, digits, _ - ."
        )


def default_events_per_shard(
    *, num_events: int, num_frames: int, latent_shape: tuple[int, int, int]
) -> int:
    """Return how many events share a shard, whatever the number of ranks.

    At most `SHARD_BYTES`, since a killed rank loses a shard's work; yet at least `FEWEST_SHARDS`
    shards, since a rank owns whole ones.
    """
    item_bytes = 2 * num_frames * int(np.prod(latent_shape))
    return max(1, min(SHARD_BYTES // item_bytes, num_events // FEWEST_SHARDS))


def hash_event_ids(event_ids: Sequence[str]) -> str:
    """Return the SHA-256 of the ids in their order."""
    return hashlib.sha256(json.dumps(list(event_ids)).encode()).hexdigest()


def group_path(path: str | Path, *, identity: StoreIdentity, variant: str) -> Path:
    """Return the folder of one (data set, VAE, augmentation variant) in the store at ``path``."""
    check_name("variant", variant)
    return Path(path) / identity.dataset / f"vae_{identity.vae_sha256[:12]}" / variant


def list_groups(path: str | Path) -> list[Path]:
    """Return the folders of all groups in the store at ``path``, built or begun.

    Raises:
        UserError: there is no store at ``path``.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(f"no latent store at {root}: make one with `prediff cache latents`")
    return sorted(manifest.parent for manifest in root.glob("*/vae_*/*/manifest"))


def parent_documents(path: str | Path, group: Path) -> dict[Path, bytes]:
    """Return the group documents of the store's root and of the folders down to ``group``."""
    document = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}, indent=2)
    folders = [Path(path), group.parent.parent, group.parent]
    return {folder / "zarr.json": document.encode() for folder in folders}


def group_documents(layout: StoreLayout, event_ids: Sequence[str]) -> dict[str, bytes]:
    """Return the group's metadata and event ids, by path in the group; the group's own is last."""
    members = {array.name: _array_document(array, layout) for array in layout.arrays}
    members["event"] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [layout.num_events],
        "data_type": "string",
        "chunk_grid": _regular_grid([layout.num_events]),
        "chunk_key_encoding": _chunk_keys(),
        "fill_value": "",
        "codecs": [{"name": "vlen-utf8", "configuration": {}}],
        "attributes": {},
        "dimension_names": ["event"],
        "storage_transformers": [],
    }
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": layout.attributes(),
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": members},
    }
    documents = {f"{name}/zarr.json": _encode_json(member) for name, member in members.items()}
    return documents | {
        "event/c.0": _encode_event_ids(event_ids),
        "zarr.json": _encode_json(group),
    }


def read_layout(group: Path) -> StoreLayout:
    """Read and check the attributes of a group.

    Raises:
        FileNotFoundError: the group was never begun.
        DamagedDocumentError: the document is damaged.
        UserError: it was written in another format version.
    """
    file = group / "zarr.json"
    text = file.read_bytes()
    damaged = DamagedDocumentError(
        f"{file} is damaged: run `prediff cache latents` again, it rewrites what is damaged"
    )
    try:
        attributes = dict(json.loads(text)["attributes"])
        version = attributes.pop("format_version")
        if version != FORMAT_VERSION:
            raise UserError(
                f"{group} has latent store format version {version}, this program reads "
                f"{FORMAT_VERSION}: build it again in another folder with `prediff cache latents`"
            )
        recorded = attributes.pop("layout_sha256")
        latent_shape = tuple(attributes.pop("latent_shape"))
        layout = StoreLayout(**attributes, latent_shape=latent_shape)
        intact = layout.sha256 == recorded
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise damaged from error
    if not intact:
        raise damaged
    return layout


def read_event_ids(group: Path, layout: StoreLayout) -> tuple[str, ...]:
    """Read the event ids and check them against the attributes.

    Raises:
        DamagedDocumentError: the file is missing or damaged.
    """
    file = group / "event" / "c.0"
    try:
        ids = _decode_event_ids(file.read_bytes())
        if hash_event_ids(ids) == layout.events_sha256:
            return ids
    except (OSError, struct.error, UnicodeDecodeError):
        pass
    raise DamagedDocumentError(
        f"{file} is missing or damaged: run `prediff cache latents` again, it rewrites it"
    )


def refuse_other_layout(group: Path, *, found: StoreLayout, expected: StoreLayout) -> None:
    """Refuse a group whose attributes differ from those expected.

    Raises:
        UserError: names the first attribute that differs, with both values.
    """
    for key, name in _ATTRIBUTE_NAMES.items():
        there, here = getattr(found, key), getattr(expected, key)
        if there != here:
            raise UserError(
                f"{group} holds latents of {name} {there}, but {name} {here} is asked for: choose "
                "another store, or delete that folder and run `prediff cache latents`"
            )


def _encode_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()


def _regular_grid(shape: Sequence[int]) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": list(shape)}}


def _chunk_keys() -> dict[str, Any]:
    # With the usual "/" a shard of a 5-dimensional array would lie five folders deep.
    return {"name": "default", "configuration": {"separator": "."}}


def _array_document(array: ArraySpec, layout: StoreLayout) -> dict[str, Any]:
    sharding = {
        "chunk_shape": [1, *array.item_shape],
        "codecs": [_BYTES, _CRC32C],
        "index_codecs": [_BYTES, _CRC32C],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [layout.num_events, *array.item_shape],
        "data_type": array.dtype,
        "chunk_grid": _regular_grid([layout.events_per_shard, *array.item_shape]),
        "chunk_key_encoding": _chunk_keys(),
        "fill_value": "NaN",
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
        "dimension_names": list(array.dimensions),
        "storage_transformers": [],
    }


def _encode_event_ids(event_ids: Sequence[str]) -> bytes:
    """Encode as zarr's `vlen-utf8`: the count, then length and text of each, 32-bit integers."""
    texts = [event_id.encode() for event_id in event_ids]
    parts = [struct.pack("<I", len(texts))]
    parts += [struct.pack("<I", len(text)) + text for text in texts]
    return b"".join(parts)


def _decode_event_ids(data: bytes) -> tuple[str, ...]:
    (count,) = struct.unpack_from("<I", data)
    ids, position = [], 4
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, position)
        ids.append(data[position + 4 : position + 4 + length].decode())
        position += 4 + length
    return tuple(ids)
