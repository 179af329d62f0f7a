"""The folder of forecasts: one file a time, and one line of quality a file."""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hpc.durable_files import remove_leftovers
from hpc.errors import UserError
from prediff.forecasting.file import write_dataset

QUALITY = "quality.jsonl"
_NAME = re.compile(r"forecast_(\d{8}T\d{6}Z)\.nc")


def time_label(time: np.datetime64) -> str:
    """Return a UTC time as file names have it, such as ``20200601T122000Z``."""
    return str(time.astype("datetime64[s]")).replace("-", "").replace(":", "") + "Z"


class Outbox:
    """Writes forecasts whole, once each, whatever is killed between.

    Args:
        folder: made if it is absent; what a killed service left half-written there is removed.

    Raises:
        UserError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"forecasts cannot be written to {folder}: {error}") from None
        remove_leftovers(folder, "forecast_*", sole_writer=True)
        self._written = {path.name for path in folder.iterdir() if _NAME.fullmatch(path.name)}
        self._describe_undescribed()

    def has(self, time: np.datetime64) -> bool:
        return self.path(time).name in self._written

    def path(self, time: np.datetime64) -> Path:
        return self.folder / f"forecast_{time_label(time)}.nc"

    def find(self, label: str | None) -> Path | None:
        """Return the forecast of a time label, or the newest one; None if there is none."""
        name = max(self._written, default=None) if label is None else f"forecast_{label}.nc"
        return self.folder / name if name is not None and name in self._written else None

    def write(self, time: np.datetime64, forecast: xr.Dataset, quality: dict[str, Any]) -> Path:
        """Write a forecast, then its line of quality.

        Raises:
            UserError: the place cannot be written; nothing half-written stays.
        """
        path = self.path(time)
        write_dataset(path, forecast)
        self._written.add(path.name)
        self._append({"file": path.name, **quality})
        return path

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, allow_nan=False) + "\n"
        try:
            with (self.folder / QUALITY).open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise UserError(f"cannot write {self.folder / QUALITY}: {error}") from None

    def _describe_undescribed(self) -> None:
        """Give a line to every forecast that a kill left without one."""
        self._mend_torn_line()
        described = {record.get("file") for record in self.quality()}
        for name in sorted(self._written - described):
            made = datetime.fromtimestamp((self.folder / name).stat().st_mtime, UTC)
            self._append({"file": name, "written": made.isoformat(), "recovered": True})

    def _mend_torn_line(self) -> None:
        path = self.folder / QUALITY
        if path.exists():
            text = path.read_bytes()
            if text and not text.endswith(b"\n"):
                path.write_bytes(text[: text.rfind(b"\n") + 1])

    def quality(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of quality that are whole."""
        path = self.folder / QUALITY
        if not path.exists():
            return
        with path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue
