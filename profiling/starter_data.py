"""The windows that the starter model is trained on, from trees in SEVIR-LR's layout.

T time, H, W pixels.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hpc.errors import UserError

LENGTH, SIDE = 13, 64
NETWORKS = ("taasrad19", "fmi", "meteofrance")
"""Networks whose licence is clear; no other goes into the weights."""
KEPT_BACK = 0.15
"""The last part of TAASRAD19's groups before 2017, on which choices are made."""


@dataclass(frozen=True)
class Windows:
    """Windows of one kind, which make up a share of the samples.

    Attributes:
        frames: ``[N, T, H, W]`` uint8, VIL on 0-255.
        minutes: between frames.
        network: where they come from.
        share: of the samples of a training.
    """

    frames: np.ndarray
    minutes: int
    network: str
    share: float


class MixedWindows:
    """Windows of several kinds as one split, in which each kind has its share of the samples."""

    def __init__(self, parts: Sequence[Windows], *, length: int = 8192, seed: int = 0) -> None:
        self.parts = list(parts)
        total = sum(part.share for part in parts)
        generator = np.random.default_rng(seed)
        places = []
        for number, part in enumerate(parts):
            count = round(length * part.share / total)
            rows = np.resize(generator.permutation(len(part.frames)), count)
            places.append(np.stack([np.full(count, number), rows], 1))
        self._places = np.concatenate(places)
        self._starts = np.cumsum([0, *(len(part.frames) for part in parts)])

    def __len__(self) -> int:
        return len(self._places)

    def read_frames_of(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return frames ``[B, T, H, W]`` float32 in [0, 1] and the minutes between them, [B]."""
        chosen = self._places[positions]
        frames = np.stack([self.parts[part].frames[row] for part, row in chosen])
        minutes = np.array([self.parts[part].minutes for part, _ in chosen], np.float32)
        return frames.astype(np.float32) / np.float32(255), minutes


def training_parts(radar: Path, finland: Path) -> list[Windows]:
    """Return what the starter is trained on.

    Args:
        radar: folder of the trees ``64px_05min``, ``64px_10min`` and ``128px_05min``.
        finland: SEVIR-LR tree of 128 x 128 pixels and 25 frames, 5 minutes apart.

    Raises:
        UserError: a tree is missing.
    """
    parts = []
    for tree, minutes, share in (("64px_05min", 5, 0.55), ("64px_10min", 10, 0.45)):
        late = kept_back_groups(radar / tree)
        rows = [row for row, _ in events(radar / tree, networks=("taasrad19",), split="train")]
        frames = [
            event
            for row, event in events(radar / tree, networks=("taasrad19",), split="train")
            if row["group"] not in late
        ]
        assert len(frames) < len(rows)
        parts.append(Windows(np.stack(frames), minutes, "taasrad19", 0.55 * share))
        own = [event for _, event in events(radar / tree, networks=("fmi",), split="train")]
        parts.append(Windows(np.stack(own), minutes, "fmi", 0.13 * share))
    wide = [event for _, event in events(finland, before="2017")]
    five = [w for event in wide for w in _tiles(event, starts=(0, 4, 8, 12), stride=1)]
    ten = [w for event in wide for w in _tiles(event, starts=(0,), stride=2)]
    parts.append(Windows(np.stack(five), 5, "fmi", 0.13))
    parts.append(Windows(np.stack(ten), 10, "fmi", 0.10))
    single = events(radar / "128px_05min", networks=("meteofrance",), split="train")
    french = [w for _, event in single for w in _tiles(event, starts=(0,), stride=1, steps=5)]
    french += [
        event for _, event in events(radar / "64px_05min", networks=("meteofrance",), split="train")
    ]
    parts.append(Windows(np.stack(french), 5, "meteofrance", 0.09))
    return parts


def kept_back_groups(tree: Path) -> set[str]:
    """Return the groups of TAASRAD19 that choices are made on, the last ones before 2017."""
    rows = [row for row, _ in events(tree, networks=("taasrad19",), split="train")]
    groups = sorted({row["group"] for row in rows}, key=lambda g: _first_time(rows, g))
    return set(groups[-max(1, round(KEPT_BACK * len(groups))) :])


def _first_time(rows: Sequence[dict[str, str]], group: str) -> str:
    return min(row["time_utc"] for row in rows if row["group"] == group)


def events(
    tree: Path,
    *,
    networks: Sequence[str] | None = None,
    split: str | None = None,
    before: str = "9999",
    catalog: str = "CATALOG.csv",
) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """Yield catalog rows and their frames ``[T, H, W]`` uint8.

    Raises:
        UserError: there is no catalog.
    """
    path = tree / catalog
    if not path.is_file():
        raise UserError(f"no {catalog} in {tree}")
    loaded: dict[str, np.ndarray] = {}
    with path.open() as lines:
        for row in csv.DictReader(lines):
            unwanted = networks is not None and row["network"] not in networks
            if unwanted or (split and row["split"] != split) or row["time_utc"] >= before:
                continue
            name = row["file_name"]
            if name not in loaded:
                with h5py.File(tree / "data" / name) as file:
                    loaded[name] = file["vil"][:]
            yield row, np.moveaxis(loaded[name][int(row["file_index"])], -1, 0)


def _tiles(
    event: np.ndarray, *, starts: Sequence[int], stride: int, steps: int = 3
) -> list[np.ndarray]:
    """Return windows of 64 x 64 of an event of 128 x 128 ``[T, H, W]``, and its block maximum."""
    offsets = np.linspace(0, event.shape[1] - SIDE, steps).astype(int)
    found = []
    for start in starts:
        window = event[start : start + stride * LENGTH : stride]
        if len(window) < LENGTH:
            continue
        for y in offsets:
            found += [window[:, y : y + SIDE, x : x + SIDE] for x in offsets]
        found.append(window.reshape(LENGTH, SIDE, 2, SIDE, 2).max(axis=(2, 4)))
    return [tile for tile in found if (tile >= 16).mean() > 0.01]


def kept_back_parts(radar: Path) -> list[Windows]:
    """Return the windows of TAASRAD19 before 2017 that choices are made on."""
    parts = []
    for tree, minutes in (("64px_05min", 5), ("64px_10min", 10)):
        late = kept_back_groups(radar / tree)
        rows = events(radar / tree, networks=("taasrad19",), split="train")
        found = [event for row, event in rows if row["group"] in late]
        parts.append(Windows(np.stack(found), minutes, "taasrad19", 0.5))
    return parts
