"""Look at a data folder: what is there, what is broken, and what would be used."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hpc.errors import UserError
from prediff.data.cadence import explain_odd, odd_events
from prediff.data.catalog import (
    CatalogRow,
    Event,
    catalog_path,
    catalog_sha256,
    quantity_of,
    read_rows,
)
from prediff.data.quantity import MISSING, VIL
from prediff.data.selection import SPLITS, Selection
from prediff.data.sevir import FrameShape, VilReader
from prediff.data.synthesize import RECIPE_NAME


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """One HDF5 file.

    ``mean``, ``rain_share`` (code >= 16) and ``maximum`` are of the ``rows_read`` rows that were
    looked at, None when none could be read.
    """

    file: str
    used_events: int
    rows: int | None
    frame_shape: FrameShape | None
    rows_read: int
    mean: float | None
    rain_share: float | None
    maximum: int | None


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """What a split would use."""

    split: str
    events: int
    windows: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The findings of :func:`check`.

    Attributes:
        notes: what a user should know and need not mend, a line each.
        problems: what keeps the data from being used, a line each.
    """

    root: Path
    catalog_sha256: str
    vil_rows: int
    usable_events: int
    files: Sequence[FileReport]
    splits: Sequence[SplitReport]
    notes: Sequence[str]
    problems: Sequence[str]

    @property
    def ok(self) -> bool:
        """Whether the data can be used."""
        return not self.problems

    def print(self, console: Console) -> None:
        """Print the findings: two tables, then a line for each note and problem."""

        def line(text: str) -> None:
            console.print(text, soft_wrap=True, markup=False, highlight=False)

        line(
            f"{self.root}: {self.vil_rows} vil rows in the catalog, {self.usable_events} usable "
            f"events; catalog SHA-256 {self.catalog_sha256[:12]}"
        )
        console.print(self._files_table(), self._splits_table())
        for note in self.notes:
            line(f"note: {note}")
        for problem in self.problems:
            line(f"problem: {problem}")
        if self.ok:
            line("No problem found.")

    def _files_table(self) -> Table:
        table = Table("file", "rows", "used", "frames", "mean", ">=16", "max", box=None)
        for file in self.files:
            table.add_row(
                Path(file.file).stem,
                _cell(file.rows),
                str(file.used_events),
                _cell(file.frame_shape and file.frame_shape.short),
                _cell(file.mean, ".1f"),
                _cell(file.rain_share, ".0%"),
                _cell(file.maximum),
            )
        return table

    def _splits_table(self) -> Table:
        table = Table("split", "events", "sequences", "first", "last", box=None)
        for split in self.splits:
            table.add_row(
                split.split,
                str(split.events),
                str(split.windows),
                _cell(split.first),
                _cell(split.last),
            )
        return table


def check(root: Path, *, selection: Selection | None = None, read_all: bool = False) -> Report:
    """Return what is in a data folder. Nothing is changed.

    Args:
        root: folder with ``CATALOG.csv`` and ``data/vil/<year>/*.h5``.
        selection: the rules by which events are used; None is SEVIR-LR's.
        read_all: read every usable event, not only the first and the last of each file.

    Raises:
        UserError: there is no catalog, or it cannot be understood.
    """
    root = Path(root)
    selection = selection or Selection()
    rows = read_rows(root)
    usable = selection.usable(rows)
    problems: list[str] = []
    files = []
    by_file: dict[str, list[Event]] = {}
    for event in sorted(usable, key=lambda event: event.index):
        by_file.setdefault(event.file, []).append(event)
    hidden: list[str] = []
    for file, events in sorted(by_file.items()):
        with VilReader(root) as reader:
            files.append(
                _check_file(
                    reader, file, events, read_all=read_all, problems=problems, hidden=hidden
                )
            )
    shapes = {file.frame_shape for file in files if file.frame_shape}
    if len(shapes) > 1:
        found = ", ".join(sorted(map(str, shapes)))
        problems.append(f"Files differ in size ({found}): keep them in different folders")
    splits = []
    if not usable:
        problems.append(str(selection.explain_empty(rows, split="all", place=root)))
    elif shapes:
        frames = min(shape.frames for shape in shapes)
        _, odd = odd_events(usable, frames=frames)
        if odd:
            problems.append(str(explain_odd(odd, place=catalog_path(root))))
        splits = _check_splits(rows, selection, frames, root, problems)
    return Report(
        root=root,
        catalog_sha256=catalog_sha256(root),
        vil_rows=len(rows),
        usable_events=len(usable),
        files=files,
        splits=splits,
        notes=_notes(root, rows, hidden),
        problems=problems,
    )


def _check_file(
    reader: VilReader,
    file: str,
    events: list[Event],
    *,
    read_all: bool,
    problems: list[str],
    hidden: list[str],
) -> FileReport:
    rows = shape = None
    values: list[np.ndarray] = []
    try:
        rows, shape = len(reader.dataset(file)), reader.frame_shape(file)
        reader.require_rows(events)
    except UserError as error:
        problems.append(str(error))
    else:
        damaged = []
        looked_at = {e.index: e.id for e in (events if read_all else (events[0], events[-1]))}
        for index, name in looked_at.items():
            try:
                values.append(np.bincount(reader.read(file, index).ravel(), minlength=256))
            except UserError as error:
                damaged.append(str(error))
                continue
            if values[-1][MISSING]:
                hidden.append(name)
        if damaged:
            more = f" (and {len(damaged) - 1} more rows of it)" if len(damaged) > 1 else ""
            problems.append(damaged[0] + more)
    counts = np.sum(values, axis=0)[:MISSING] if values else None
    if counts is not None and not counts.any():
        counts = None
    return FileReport(
        file=file,
        used_events=len(events),
        rows=rows,
        frame_shape=shape,
        rows_read=len(values),
        mean=None if counts is None else float(counts @ np.arange(MISSING) / counts.sum()),
        rain_share=None if counts is None else float(counts[16:].sum() / counts.sum()),
        maximum=None if counts is None else int(np.flatnonzero(counts)[-1]),
    )


def _check_splits(
    rows: Sequence[CatalogRow], selection: Selection, frames: int, root: Path, problems: list[str]
) -> list[SplitReport]:
    splits = []
    for split in SPLITS:
        try:
            events, windows = selection.cut(rows, split=split, frames=frames)
        except UserError as error:
            problems.append(str(error))
            return []
        if not len(windows):
            problems.append(str(selection.explain_empty(rows, split=split, place=root)))
        times = [events[i].time for i in np.unique(windows[:, 0])]
        splits.append(
            SplitReport(
                split=split,
                events=len(times),
                windows=len(windows),
                first=min(times, default=None),
                last=max(times, default=None),
            )
        )
    return splits


def _notes(root: Path, rows: Sequence[CatalogRow], hidden: Sequence[str]) -> list[str]:
    notes = []
    quantity = quantity_of(rows)
    if quantity is not VIL:
        notes.append(f"frames are {quantity.title} in {quantity.short_units}; numbers are codes")
    if hidden:
        shown = ", ".join(hidden[:5]) + (", ..." if len(hidden) > 5 else "")
        notes.append(
            f"events with missing pixels (255) of which the catalog says none: {len(hidden)} of "
            f"those read ({shown}); missing pixels are dry in training and left out of scores"
        )
    if (root / RECIPE_NAME).exists():
        notes.append("these are synthetic storms, not observations")
    incomplete = sum(row.percent_missing != 0 for row in rows)
    if incomplete:
        notes.append(f"vil rows with missing pixels, not used: {incomplete}")
    seen = Counter(row.event.id for row in rows if row.percent_missing == 0)
    repeated = sorted(id for id, count in seen.items() if count > 1)
    if repeated:
        shown = ", ".join(repeated[:5]) + (", ..." if len(repeated) > 5 else "")
        notes.append(f"ids listed more than once, not used: {len(repeated)} ({shown})")
    return notes


def _cell(value: object, form: str = "") -> str:
    return "-" if value is None else format(value, form) if form else str(value)
