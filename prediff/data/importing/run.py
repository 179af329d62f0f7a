"""An archive of radar files as a data folder: planned, cut into tiles, chosen by rain, written.

T frames, S pixels of a tile's side. One file of the folder holds the tiles of one window; it exists
when it is whole, with its rows of the catalog beside it, so an import that was killed goes on with
the window that it was at.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc.durable_files import replace_file, write_durably
from hpc.errors import UserError
from hpc.randomness import keyed_generator
from prediff.data.catalog import CATALOG_NAME, COLUMNS
from prediff.data.formats.image import RadarImage
from prediff.data.formats.read_file import read_images
from prediff.data.gridded import clock
from prediff.data.importing.plan import Plan, Window, make_plan
from prediff.data.importing.tiles import Tile, tiles_of
from prediff.data.quantity import (
    HIGHEST,
    MISSING,
    Quantity,
    RainRelation,
    convert,
    quantity_named,
    require_convertible,
)
from prediff.data.sevir import create_vil
from prediff.names import check_name

SETTINGS = "import.json"
"""Beside the catalog: how the folder was made."""

EXTRA_COLUMNS = (
    "group",
    "weight",
    "cadence_min",
    "rain_share",
    "producer",
    "licence",
    "attribution",
)
"""Columns of the catalog after SEVIR's."""

_PARTS = ".import"
_FULL_SHARE = 0.04
"""A window of which this share is rain is always taken."""


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """What determines the folder, beside the archive.

    Attributes:
        label: begins the events' names.
        quantity: of the folder; None is the archive's own.
        a, b: of Z = a R**b, where one becomes the other.
        frames: of an event.
        minutes: between them; None is the step that most images have.
        side_km, pixels: of a tile.
        dry_share: the share of windows without rain that is kept; windows with more rain are kept
            more often, up to always. What was kept for others has their number as its weight.
        seed: of these draws.
        licence, attribution: the source's, written to every row of the catalog.
    """

    label: str
    quantity: str | None = None
    a: float = 200.0
    b: float = 1.6
    frames: int = 25
    minutes: float | None = None
    side_km: float = 384.0
    pixels: int = 128
    dry_share: float = 0.1
    seed: int = 0
    licence: str = "not stated"
    attribution: str = "not stated"

    def __post_init__(self) -> None:
        check_name(self.label, what="--label")
        if self.quantity is not None:
            quantity_named(self.quantity)
        RainRelation(a=self.a, b=self.b)
        for name in ("frames", "side_km", "pixels"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name.replace('_', '-')} must be positive")
        if not 0 < self.dry_share <= 1:
            raise UserError(f"--dry-share is {self.dry_share:g}, expected more than 0, at most 1")


@dataclass(frozen=True)
class ImportResult:
    """What an import did: the plan, and windows and events written now or before."""

    plan: Plan
    windows_written: int
    windows_kept: int
    events: int
    left_out: Counter[str]


def import_archive(
    source: Path,
    destination: Path,
    *,
    settings: ImportSettings,
    strict: bool = False,
    workers: int = 1,
    plan: Plan | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportResult:
    """Make a data folder of an archive of radar files, or go on with one.

    Args:
        source: a folder of radar files of one service.
        destination: a new folder, or one that the same import was killed in.
        settings: what to make.
        strict: stop at a file that cannot be read, instead of leaving its window out.
        workers: processes that read at a time.
        plan: of `make_plan`, where it is made already.
        progress: called with the windows done and of all.

    Raises:
        UserError: no archive, another folder, or nothing that could be taken.
    """
    plan = plan or make_plan(
        source, frames=settings.frames, minutes=settings.minutes, strict=strict
    )
    if not plan.windows:
        raise UserError(f"{source}: no window of {settings.frames} frames; {plan.lines()[-1]}")
    _refuse_in_vain(plan.windows[0], settings)
    _claim(destination, settings)
    todo = [w for w in plan.windows if not _part(destination, w).exists()]
    left_out: Counter[str] = Counter()
    work = partial(
        _import_window, destination=destination, settings=settings, minutes=plan.cadence_minutes
    )
    for done, (reasons, error) in enumerate(_each(work, todo, workers), 1):
        if error and strict:
            raise UserError(error)
        if error:
            plan.leave_out("windows with a file that cannot be read", error)
        left_out.update(reasons)
        if progress:
            progress(done + len(plan.windows) - len(todo), len(plan.windows))
    events = _write_catalog(destination, plan.windows)
    if not events:
        raise UserError(
            f"{source}: no tile was taken: {_counted(left_out) or '; '.join(plan.lines())}"
        )
    return ImportResult(plan, len(todo), len(plan.windows) - len(todo), events, left_out)


def _each(
    work: Callable[[Window], tuple[Counter[str], str]],
    windows: list[Window],
    workers: int,
) -> Iterator[tuple[Counter[str], str]]:
    if workers == 1:
        yield from map(work, windows)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, windows)


def _refuse_in_vain(window: Window, settings: ImportSettings) -> None:
    """Refuse, before anything is written, what the first image that can be read cannot become."""
    for frame in window.frames:
        try:
            image = _image_of(frame.path, frame.time)
        except UserError:
            continue
        tiles_of(image.grid, side_km=settings.side_km, pixels=settings.pixels)
        if settings.quantity is not None:
            require_convertible(
                source=image.quantity,
                target=quantity_named(settings.quantity),
                place=str(frame.path),
            )
        return


def _claim(destination: Path, settings: ImportSettings) -> None:
    text = json.dumps(asdict(settings), indent=1) + "\n"
    said = destination / SETTINGS
    if said.exists():
        if said.read_text(encoding="utf-8") != text:
            raise UserError(
                f"{said} is of an import with other settings: name a new folder, or repeat them"
            )
        return
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UserError(f"{destination} holds other data: name a new folder")
    (destination / _PARTS).mkdir(parents=True, exist_ok=True)
    write_durably(said, text)


def _part(destination: Path, window: Window) -> Path:
    """The window's rows of the catalog; written last of all that belongs to it."""
    return destination / _PARTS / f"{window.label}.csv"


def _import_window(
    window: Window, *, destination: Path, settings: ImportSettings, minutes: float
) -> tuple[Counter[str], str]:
    """Write one window; return why tiles were left out, and the error of a file, if any."""
    reasons: Counter[str] = Counter()
    try:
        images = [_image_of(frame.path, frame.time) for frame in window.frames]
        _require_one_kind(images, window)
    except UserError as error:
        return reasons, str(error)
    quantity = quantity_named(settings.quantity) if settings.quantity else images[0].quantity
    try:
        codes = [_coded(image, quantity, settings, window) for image in images]
        tiles = tiles_of(images[0].grid, side_km=settings.side_km, pixels=settings.pixels)
    except UserError as error:
        return reasons, str(error)
    chosen: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    file = f"{quantity.name}/{window.label[:4]}/{settings.label}_{window.label}.h5"
    for number, tile in enumerate(tiles):
        stack = np.stack([_tile_bytes(tile, values) for values in codes])
        if (stack == MISSING).any():
            reasons["tiles with missing pixels"] += 1
            continue
        share = float((stack >= quantity.threshold_code(quantity.rain_threshold)).mean())
        keep = min(1.0, max(settings.dry_share, share / _FULL_SHARE))
        sample = int(window.frames[0].time.astype("datetime64[m]").astype(np.int64)) * 1000 + number
        draw = keyed_generator(seed=settings.seed, stream="import", sample=sample).random()
        if draw >= keep:
            reasons["tiles with little rain, which others stand for"] += 1
            continue
        rows.append(
            _row(
                tile, stack, file=file, index=len(chosen), window=window, settings=settings,
                quantity=quantity, minutes=minutes, weight=1 / keep, share=share,
                producer=images[0].producer,
            )
        )  # fmt: skip
        chosen.append(stack)
    if chosen:
        _write_file(destination / "data" / file, chosen, quantity)
    out = io.StringIO()
    csv.DictWriter(out, (*COLUMNS, *EXTRA_COLUMNS), restval="", lineterminator="\n").writerows(rows)
    write_durably(_part(destination, window), out.getvalue())
    return reasons, ""


def _image_of(path: Path, time: np.datetime64) -> RadarImage:
    for image in read_images(path):
        if image.time == time:
            return image
    raise UserError(f"{path} no longer holds an image of {clock(time)}")


def _require_one_kind(images: Iterable[RadarImage], window: Window) -> None:
    first, *others = images
    for image, frame in zip(others, window.frames[1:], strict=True):
        for what, mine, its in (
            ("quantities", first.quantity.name, image.quantity.name),
            ("grids", first.grid.key, image.grid.key),
        ):
            if mine != its:
                raise UserError(
                    f"{window.frames[0].path} and {frame.path} have different {what}: import them "
                    "into different folders"
                )


def _coded(
    image: RadarImage, quantity: Quantity, settings: ImportSettings, window: Window
) -> np.ndarray:
    """Return an image as code, float32 ``[H, W]``, NaN where missing."""
    relation = RainRelation(a=settings.a, b=settings.b)
    values = convert(
        image.values,
        source=image.quantity,
        target=quantity,
        relation=relation,
        place=str(window.frames[0].path),
    )
    return quantity.encode(values).astype(np.float32)


def _tile_bytes(tile: Tile, code: np.ndarray) -> np.ndarray:
    cut = np.rint(tile.cut(code))
    return np.where(np.isnan(cut), MISSING, np.minimum(cut, HIGHEST)).astype(np.uint8)


def _row(
    tile: Tile,
    stack: np.ndarray,
    *,
    file: str,
    index: int,
    window: Window,
    settings: ImportSettings,
    quantity: Quantity,
    minutes: float,
    weight: float,
    share: float,
    producer: str,
) -> dict[str, Any]:
    start = window.frames[0].time.astype("datetime64[s]")
    metres = settings.side_km * 1000
    return {
        "id": f"{settings.label}-{window.label}-{tile.name}",
        "file_name": file,
        "file_index": index,
        "img_type": quantity.name,
        "time_utc": str(start).replace("T", " "),
        "minute_offsets": ":".join(f"{round(k * minutes)}" for k in range(len(stack))),
        "llcrnrlat": f"{tile.corner[0]:.6f}",
        "llcrnrlon": f"{tile.corner[1]:.6f}",
        "proj": " ".join(tile.projection.split()),
        "size_x": stack.shape[2],
        "size_y": stack.shape[1],
        "height_m": metres,
        "width_m": metres,
        "data_min": int(stack.min()),
        "data_max": int(stack.max()),
        "pct_missing": 0.0,
        "group": f"{settings.label}-{window.label[:8]}",
        "weight": f"{weight:.4f}",
        "cadence_min": f"{minutes:g}",
        "rain_share": f"{share:.4f}",
        "producer": producer,
        "licence": settings.licence,
        "attribution": settings.attribution,
    }


def _write_file(path: Path, stacks: list[np.ndarray], quantity: Quantity) -> None:
    frames, height, width = stacks[0].shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as aside, h5py.File(aside, "w") as file:
        array = create_vil(
            file, events=len(stacks), height=height, width=width, frames=frames, quantity=quantity
        )
        for index, stack in enumerate(stacks):
            array[index] = np.moveaxis(stack, 0, -1)


def _write_catalog(destination: Path, windows: Iterable[Window]) -> int:
    """Write the catalog of all windows that are there; return the number of its events."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow((*COLUMNS, *EXTRA_COLUMNS))
    events = 0
    for window in windows:
        part = _part(destination, window)
        if part.exists():
            text = part.read_text(encoding="utf-8")
            out.write(text)
            events += text.count("\n")
    if events:
        write_durably(destination / CATALOG_NAME, out.getvalue())
    return events


def _counted(reasons: Counter[str]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
