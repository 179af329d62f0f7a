"""Checkpoints of one training stage: whole or not there, verified, written beside the training.

A checkpoint is a folder ``step_00001234`` with one safetensors file a group of arrays (model, ema,
optimizer), ``state.json`` and a manifest. It is written under another name, flushed and renamed.
"""

import json
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hpc.checkpoint.manifest import (
    MANIFEST,
    DamagedCheckpointError,
    describe_files,
    verify_files,
)
from hpc.latents.durable import flush_folder, flush_to_disk, move_durably, storage_errors_as_advice

ASIDE = ".aside"
STATE = "state.json"
_NAME = re.compile(r"step_(\d{8})")

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files were all verified."""

    path: Path
    step: int
    state: dict[str, Any]
    sha256: dict[str, str]

    def arrays(self, group: str) -> dict[str, np.ndarray]:
        """Return one group of arrays by canonical name, or nothing if it was not saved."""
        path = self.path / f"{group}.safetensors"
        if path.name not in self.sha256:
            return {}
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise DamagedCheckpointError(f"{path} cannot be read: {error}") from None


class CheckpointFolder:
    """Saves, finds and rotates the checkpoints below one folder.

    Args:
        path: of the folder; made at the first save.
        keep_last: newest checkpoints that stay.
        best_by: name of a score in the state, lower is better: the best one stays, too.
    """

    def __init__(self, path: Path, *, keep_last: int, best_by: str | None = None) -> None:
        assert keep_last >= 1
        self.path = path
        self.keep_last = keep_last
        self.best_by = best_by
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, *, step: int, groups: Mapping[str, Arrays], state: Mapping[str, Any]) -> None:
        """Write a checkpoint in another thread; waits for the one before it.

        The arrays must not change afterwards: hand over copies.

        Raises:
            UserError: the save before this one failed (no room, no access).
        """
        self.wait()
        document = json.dumps(dict(state), indent=1)
        self._pending = self._executor.submit(self._write, step, groups, document)

    def wait(self) -> None:
        """Return when nothing is being written any more.

        Raises:
            UserError: the save failed; the checkpoints before it are untouched.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, ascending, verified or not."""
        if not self.path.is_dir():
            return []
        return sorted(
            int(match[1]) for entry in self.path.iterdir() if (match := _NAME.fullmatch(entry.name))
        )

    def latest(self) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest checkpoint that verifies, and a line for each newer one that does not."""
        complaints = []
        for step in reversed(self.steps()):
            try:
                return self.open(step), complaints
            except DamagedCheckpointError as error:
                complaints.append(f"skipped a damaged checkpoint: {error}")
        return None, complaints

    def open(self, step: int) -> Checkpoint:
        """Return the checkpoint of a step after verifying it.

        Raises:
            DamagedCheckpointError: it is missing or not what was written.
        """
        return open_checkpoint(self.path / f"step_{step:08d}")

    def close(self) -> None:
        """Finish writing and end the thread."""
        try:
            self.wait()
        finally:
            self._executor.shutdown()

    def __enter__(self) -> "CheckpointFolder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, step: int, groups: Mapping[str, Arrays], document: str) -> None:
        target = self.path / f"step_{step:08d}"
        with storage_errors_as_advice(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for leftover in self.path.glob(f"*{ASIDE}"):
                shutil.rmtree(leftover, ignore_errors=True)
            aside = self.path / f"{target.name}{ASIDE}"
            try:
                aside.mkdir()
                for group, arrays in groups.items():
                    if arrays:
                        _save_arrays(aside / f"{group}.safetensors", arrays)
                (aside / STATE).write_text(document)
                (aside / MANIFEST).write_bytes(describe_files(aside))
                for path in aside.iterdir():
                    _flush(path)
                flush_folder(aside)
                if target.exists():
                    target.rename(self.path / f"{target.name}.replaced{ASIDE}")
                move_durably(aside, target)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
                shutil.rmtree(self.path / f"{target.name}.replaced{ASIDE}", ignore_errors=True)
        self._rotate()

    def _rotate(self) -> None:
        steps = self.steps()
        keep = set(steps[-self.keep_last :])
        if self.best_by is not None:
            scores = {step: self._score(step) for step in steps}
            known = {step: score for step, score in scores.items() if score is not None}
            if known:
                keep.add(min(known, key=known.__getitem__))
        for step in steps:
            if step not in keep:
                shutil.rmtree(self.path / f"step_{step:08d}", ignore_errors=True)

    def _score(self, step: int) -> float | None:
        try:
            state = json.loads((self.path / f"step_{step:08d}" / STATE).read_text())
            return float(state["scores"][self.best_by])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def open_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in a folder after verifying it.

    Raises:
        DamagedCheckpointError: it is missing or not what was written.
    """
    match = _NAME.fullmatch(path.name)
    if match is None or not path.is_dir():
        raise DamagedCheckpointError(f"there is no checkpoint at {path}")
    sha256 = verify_files(path)
    state = json.loads((path / STATE).read_text())
    return Checkpoint(path=path, step=int(match[1]), state=state, sha256=sha256)


def _save_arrays(path: Path, arrays: Arrays) -> None:
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else 0, str(error)) from error


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        flush_to_disk(file.fileno())
