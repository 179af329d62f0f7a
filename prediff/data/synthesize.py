"""Write a data folder of synthetic storms in exactly the layout of SEVIR-LR."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import h5py
import numpy as np

from hpc.durable_files import replace_folder, storage_errors_as_advice
from hpc.errors import UserError
from hpc.randomness import keyed_generator
from prediff.data.catalog import CATALOG_NAME, COLUMNS, Event, catalog_path
from prediff.data.quantity import VIL, Quantity, quantity_named
from prediff.data.sevir import create_vil
from prediff.data.storms import DOMAIN_KM, FRAME_MINUTES, storm_event

RECIPE_NAME = "synthetic.json"
"""Beside the catalog: how the folder was made. Its presence marks the data as synthetic."""

_VERSION = 1
_SMALLEST = 8
_TICK = timedelta(minutes=5)
_GAP = timedelta(days=30)  # without events, on both sides of the test boundary
_LONGEST_WAIT = timedelta(days=3)
_RECORD = timedelta(days=330)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What determines a synthetic data set down to its last pixel.

    Attributes:
        events: number of events.
        size: pixels of a side; a side is always 384 km long.
        frames: frames an event, 10 minutes apart.
        seed: of all draws.
        test_after: events are dated on both sides of this time, at least a month from it.
        test_fraction: part of the events dated after it; each side gets one at least.
        quantity: what the storms' codes 0-254 are of.
    """

    events: int = 60
    size: int = 64
    frames: int = 25
    seed: int = 0
    test_after: datetime = datetime(2019, 6, 1)
    test_fraction: float = 0.2
    quantity: str = VIL.name

    def __post_init__(self) -> None:
        for name, least in (("events", 2), ("size", _SMALLEST), ("frames", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(
                    f"Synthetic data: {name} is {getattr(self, name)}, expected {least} or more"
                )
        if not 0 < self.test_fraction < 1:
            raise UserError(
                f"Synthetic data: test_fraction is {self.test_fraction}, expected a number "
                f"between 0 and 1"
            )

    def as_json(self) -> str:
        """Return the recipe as it is written to the folder."""
        fields = asdict(self) | {"test_after": self.test_after.isoformat(), "version": _VERSION}
        if self.quantity == VIL.name:  # as it was written before there were others
            del fields["quantity"]
        return json.dumps(fields, indent=2) + "\n"


def synthesize(
    destination: Path,
    *,
    recipe: Recipe | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Make synthetic data in ``destination``; return False if just these were there already.

    The folder appears when it is whole: an interrupted call leaves nothing under its name.

    Args:
        destination: a folder that does not exist, is empty, or holds the same synthetic data.
        recipe: what to make; None is the default recipe.
        progress: called with the number of events done and of all events, after each.

    Raises:
        UserError: the folder holds something else.
    """
    destination = Path(destination)
    recipe = recipe or Recipe()
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        if _recipe_of(destination) == recipe.as_json():
            catalog_path(destination)
            return False
        raise UserError(
            f"{destination} exists and holds other data: name a new folder, or delete it first"
        )
    events = _date_events(recipe)
    with storage_errors_as_advice(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
    with storage_errors_as_advice(destination), replace_folder(destination) as folder:
        for number, event in enumerate(events):
            generator = keyed_generator(seed=recipe.seed, stream="synthetic_storms", sample=number)
            frames = storm_event(generator, size=recipe.size, frames=recipe.frames)
            rows = sum(e.file == event.file for e in events)
            _write_event(folder, event, frames, rows=rows, quantity=quantity_named(recipe.quantity))
            if progress:
                progress(number + 1, recipe.events)
        _write_catalog(folder / CATALOG_NAME, events, recipe)
        (folder / RECIPE_NAME).write_text(recipe.as_json(), encoding="utf-8")
    return True


def _write_event(
    folder: Path, event: Event, frames: np.ndarray, *, rows: int, quantity: Quantity
) -> None:
    path = folder / "data" / event.file
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "a") as file:
        if quantity.name not in file:
            count, height, width = frames.shape
            create_vil(
                file, events=rows, height=height, width=width, frames=count, quantity=quantity
            )
        file[quantity.name][event.index] = np.moveaxis(frames, 0, -1)


def _recipe_of(folder: Path) -> str | None:
    try:
        return (folder / RECIPE_NAME).read_text(encoding="utf-8")
    except OSError:
        return None


def _date_events(recipe: Recipe) -> list[Event]:
    """Return the events with ids, times, files and rows; the last ones are the test's."""
    tests = min(max(round(recipe.events * recipe.test_fraction), 1), recipe.events - 1)
    generator = keyed_generator(seed=recipe.seed, stream="synthetic_times", sample=0)
    before = [recipe.test_after - wait for wait in _draw_waits(generator, recipe.events - tests)]
    after = [recipe.test_after + wait for wait in _draw_waits(generator, tests)]
    times = [*reversed(before), *after]
    rows: dict[str, int] = {}
    events = []
    for number, time in enumerate(times):
        file = _file_of(time)
        rows[file] = rows.get(file, -1) + 1
        events.append(
            Event(
                id=f"R{time:%y%m%d%H%M}{number:04d}",
                file=file,
                index=rows[file],
                time=time,
                minute_offsets=tuple(
                    round(FRAME_MINUTES * (frame - recipe.frames // 2))
                    for frame in range(recipe.frames)
                ),
            )
        )
    return events


def _draw_waits(generator: np.random.Generator, count: int) -> list[timedelta]:
    """Return ascending times from the boundary: one in each of ``count`` equal stretches."""
    stretch = min(_LONGEST_WAIT, _RECORD / count)
    waits = [_GAP + stretch * (n + generator.random()) for n in range(count)]
    return [wait // _TICK * _TICK for wait in waits]


def _file_of(time: datetime) -> str:
    """Return the file of SEVIR's random events for a time: three a year."""
    months = ("0101_0430", "0501_0831", "0901_1231")[(time.month - 1) // 4]
    return f"vil/{time.year}/SEVIR_VIL_RANDOMEVENTS_{time.year}_{months}.h5"


def _write_catalog(path: Path, events: Sequence[Event], recipe: Recipe) -> None:
    shared = {
        "img_type": recipe.quantity,
        "proj": "synthetic",
        "llcrnrlat": 0,
        "llcrnrlon": 0,
        "urcrnrlat": 0,
        "urcrnrlon": 0,
        "size_x": recipe.size,
        "size_y": recipe.size,
        "height_m": DOMAIN_KM * 1000,
        "width_m": DOMAIN_KM * 1000,
        "data_min": 0,
        "data_max": 254,
        "pct_missing": 0.0,
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        for event in events:
            table.writerow(
                shared
                | {
                    "id": event.id,
                    "file_name": event.file,
                    "file_index": event.index,
                    "time_utc": f"{event.time:%Y-%m-%d %H:%M:%S}",
                    "minute_offsets": ":".join(map(str, event.minute_offsets)),
                }
            )
