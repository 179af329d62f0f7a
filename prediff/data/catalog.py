"""The catalog of a data folder: which radar events exist, and which of them may be used.

Source: MODEL section 6; Veillette et al., SEVIR, NeurIPS 2020. Trees of other quantities than VIL
have the quantity's name in ``img_type``.
"""

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from hpc.errors import UserError
from prediff.data.file_guard import inside
from prediff.data.quantity import QUANTITIES, VIL, Quantity
from prediff.names import RULE, is_name

CATALOG_NAME = "CATALOG.csv"
COLUMNS = (
    "id", "file_name", "file_index", "img_type", "time_utc", "minute_offsets", "episode_id",
    "event_id", "event_type", "llcrnrlat", "llcrnrlon", "urcrnrlat", "urcrnrlon", "proj", "size_x",
    "size_y", "height_m", "width_m", "data_min", "data_max", "pct_missing",
)  # fmt: skip
"""All columns of SEVIR's own catalog, in its order."""

SIDE_METRES = 384_000.0
"""The side of every SEVIR frame."""

_LONGEST_PROJECTION = 1000

REQUIRED_COLUMNS = ("id", "file_name", "file_index", "img_type", "time_utc", "pct_missing")


@dataclass(frozen=True, slots=True)
class Event:
    """One radar event: where its frames are, and when they were seen.

    Attributes:
        id: the event's name in the catalog.
        file: HDF5 file, relative to ``ROOT/data``.
        index: row of the event in that file's ``vil``.
        time: the catalog's time (UTC, naive) at minute offset 0.
        minute_offsets: times of the catalog's frames relative to ``time``, in minutes.
        width_metres: what a frame's side covers on the ground.
        group: what belongs together, such as crops of one composite; the day where nothing is said.
        weight: how often the event stands for another; 1 where nothing is said.
        projection: as PROJ reads it, empty if not known.
        corner: latitude and longitude of the frame's lower left corner, degrees.
    """

    id: str
    file: str
    index: int
    time: datetime
    minute_offsets: tuple[int, ...] = ()
    width_metres: float = SIDE_METRES
    group: str = ""
    weight: float = 1.0
    projection: str = ""
    corner: tuple[float, float] | None = None

    def frame_offsets(self, frames: int) -> list[int] | None:
        """Return what the catalog says of the times of ``frames`` frames, in minutes from ``time``.

        SEVIR-LR keeps SEVIR's catalog with 49 offsets for its 25 frames: then every second one
        counts. None where the catalog says nothing, or of another number of frames.
        """
        for step in (1, 2):
            offsets = self.minute_offsets[::step]
            if len(offsets) == frames:
                return list(offsets)
        return None

    def frame_minutes(self, frames: int) -> list[int]:
        """Return the offset of each of ``frames`` frames from ``time``, in minutes.

        Where the catalog says nothing usable, frames are 10 minutes apart from 0.
        """
        return self.frame_offsets(frames) or [10 * frame for frame in range(frames)]


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """One radar row of the catalog: an event and the part of its pixels that is missing (%)."""

    event: Event
    percent_missing: float
    quantity: str = VIL.name


def catalog_path(root: Path) -> Path:
    """Return ``ROOT/CATALOG.csv``.

    Raises:
        UserError: there is no such file.
    """
    path = inside(Path(root), CATALOG_NAME)
    if not path.is_file():
        raise UserError(
            f"No data at {root}: expected {path}; make test data with "
            f"`prediff data synthesize {root}` or name another folder"
        )
    return path


def catalog_sha256(root: Path) -> str:
    """Return the SHA-256 of the catalog's bytes, in hexadecimal.

    Raises:
        UserError: there is no catalog.
    """
    return hashlib.sha256(catalog_path(root).read_bytes()).hexdigest()


def read_rows(root: Path) -> tuple[CatalogRow, ...]:
    """Return the catalog's rows of radar frames, in the file's order.

    A catalog is read once per process, until its file changes.

    Raises:
        UserError: there is no catalog, columns are missing, a row cannot be understood, or the rows
            are of several quantities.
    """
    path = catalog_path(root)
    found = path.stat()
    return _read_rows(path, (found.st_mtime_ns, found.st_size, found.st_ino))


def quantity_of(rows: Iterable[CatalogRow]) -> Quantity:
    """Return what the frames of a catalog's rows are; VIL of none."""
    return QUANTITIES[next((row.quantity for row in rows), VIL.name)]


@lru_cache(maxsize=4)
def _read_rows(path: Path, state: tuple[int, ...]) -> tuple[CatalogRow, ...]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = [name for name in REQUIRED_COLUMNS if name not in (table.fieldnames or [])]
            if missing:
                raise UserError(
                    f"{path} lacks the columns {', '.join(missing)}: it is not a SEVIR catalog"
                )
            rows = tuple(
                _parse_row(row, f"{path}, line {table.line_num}")
                for row in table
                if row["img_type"] in QUANTITIES
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a catalog: {error}") from error
    kinds = sorted({row.quantity for row in rows})
    if len(kinds) > 1:
        raise UserError(f"{path} lists {' and '.join(kinds)}: keep quantities in different folders")
    return rows


def _parse_row(row: dict[str, str], place: str) -> CatalogRow:
    def parse(column, convert, meaning):
        try:
            return convert(row[column])
        except (TypeError, ValueError):
            raise UserError(
                f"{place}: {column} is {str(row[column])[:80]!r}, expected {meaning}; mend the "
                "catalog"
            ) from None

    time = parse("time_utc", _utc, "a time such as 2019-06-01 00:00:00")
    event = Event(
        id=parse("id", _event_name, RULE),
        file=parse("file_name", _relative_file, "a path inside the data folder"),
        index=parse("file_index", int, "a whole number"),
        time=time,
        minute_offsets=_parse_offsets(row.get("minute_offsets")),
        width_metres=_parse_width(row.get("width_m")),
        group=(row.get("group") or "").strip() or f"{time:%Y%m%d}",
        weight=_parse_weight(row.get("weight"), place),
        projection=(row.get("proj") or "")[:_LONGEST_PROJECTION],
        corner=_parse_corner(row.get("llcrnrlat"), row.get("llcrnrlon")),
    )
    return CatalogRow(
        event=event,
        percent_missing=parse("pct_missing", lambda v: float(v or math.nan), "a percentage"),
        quantity=row["img_type"],
    )


def _event_name(text: str) -> str:
    """Events name forecasts, pictures and lines of tables."""
    if not is_name(text):
        raise ValueError(text)
    return text


def _utc(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def _parse_weight(text: str | None, place: str) -> float:
    if not text:
        return 1.0
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (weight > 0 and math.isfinite(weight)):
        raise UserError(f"{place}: weight is {text[:80]!r}, expected a positive number")
    return weight


def _parse_corner(latitude: str | None, longitude: str | None) -> tuple[float, float] | None:
    """The corner only labels axes: where it cannot be read, an event is still usable."""
    try:
        corner = float(latitude or math.nan), float(longitude or math.nan)
    except ValueError:
        return None
    return corner if all(map(math.isfinite, corner)) else None


def _relative_file(name: str) -> str:
    path = Path(name)
    if not name or path.is_absolute() or ".." in path.parts or not name.isprintable():
        raise ValueError(name)
    return name


def _parse_offsets(text: str | None) -> tuple[int, ...]:
    """Offsets only label times: where they cannot be read, an event is still usable."""
    try:
        return tuple(int(part) for part in (text or "").split(":"))
    except ValueError:
        return ()


def _parse_width(text: str | None) -> float:
    """The side only labels axes: where it cannot be read, it is SEVIR's."""
    try:
        width = float(text or SIDE_METRES)
    except ValueError:
        return SIDE_METRES
    return width if width > 0 and math.isfinite(width) else SIDE_METRES


def select_events(
    rows: Iterable[CatalogRow],
    *,
    after: datetime | None = None,
    until: datetime | None = None,
) -> list[Event]:
    """Return the usable events with ``after < time <= until``, ordered by id as strings.

    An event is used when the catalog says that none of its pixels is missing; ids that still occur
    more than once (a known defect of SEVIR's catalog) are dropped entirely. A bound of None leaves
    that end open.
    """
    candidates = [
        row.event
        for row in rows
        if row.percent_missing == 0
        and (after is None or after < row.event.time)
        and (until is None or row.event.time <= until)
    ]
    times_seen = Counter(event.id for event in candidates)
    return sorted(
        (event for event in candidates if times_seen[event.id] == 1), key=lambda event: event.id
    )
