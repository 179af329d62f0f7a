"""The checkpoints of a run: saved by a thread, rotated, found again."""

import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc.checkpoint.format import (
    DamagedCheckpoint,
    list_checkpoints,
    read_state,
    verify_checkpoint,
    write_checkpoint,
)
from hpc.durable_files import move_durably, remove_folder, remove_leftovers
from hpc.errors import UserError, one_line

logger = logging.getLogger(__name__)

Foreign = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Rotation:
    """Which checkpoints to keep; the newest `keep_last` always, and others for a reason."""

    keep_last: int = 2
    keep_every: int | None = None
    """Keep those whose step is a multiple of this."""
    best: str | None = None
    """Keep the one with the lowest of this score, a key of ``scores`` in the state."""

    def __post_init__(self) -> None:
        if self.keep_last < 1:
            raise UserError(f"keep_last={self.keep_last} checkpoints: keep at least 1")
        if self.keep_every is not None and self.keep_every < 1:
            raise UserError(f"keep_every={self.keep_every} steps: use 1 or more")

    def doomed(self, checkpoints: Mapping[int, float | None]) -> list[int]:
        """Return the steps to delete, oldest first.

        Args:
            checkpoints: the named score of every step's checkpoint, None where it has none.
        """
        steps = sorted(checkpoints)
        keep = set(steps[-self.keep_last :])
        if self.keep_every is not None:
            keep |= {step for step in steps if step % self.keep_every == 0}
        best = best_step(checkpoints)
        if best is not None:
            keep.add(best)
        return [step for step in steps if step not in keep]


def best_step(checkpoints: Mapping[int, float | None]) -> int | None:
    """Return the step with the lowest score, the newest of equals; None when none has a score."""
    scored = [(s, -step) for step, s in checkpoints.items() if s is not None and s == s]
    return -min(scored)[1] if scored else None


class CheckpointWriter:
    """Saves the checkpoints of one run; there must be one writer a folder.

    Saving happens in a thread: `save` returns at once, unless the checkpoint before is still being
    written. A save that fails (disk full) is one line in the log and the run goes on; the last good
    checkpoint is not touched. `finish` raises if the newest checkpoint is not on the disk.

    Args:
        folder: of the run's checkpoints. Leftovers of killed writers in it are removed.
        rotation: which checkpoints to keep.
    """

    def __init__(self, folder: Path, *, rotation: Rotation):
        self.folder = folder
        self.rotation = rotation
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        for path in remove_leftovers(folder, "step_*", sole_writer=True):
            logger.info("removed the unfinished checkpoint %s", path)

    def save(
        self,
        *,
        step: int,
        arrays: Mapping[str, Mapping[str, np.ndarray]],
        state: Mapping[str, Any],
    ) -> None:
        """Begin to write a checkpoint.

        Args:
            step: optimizer steps made so far.
            arrays: by file (``model``, ``ema``, ``optimizer``) and canonical name. The writer owns
                them from here on: hand over copies.
            state: for ``state.json``; ``scores`` (name -> number) decides on the best one.
        """
        self.wait()
        self._thread = threading.Thread(
            target=self._write, args=(step, arrays, dict(state)), name="checkpoint"
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def finish(self) -> None:
        """Wait for the newest checkpoint.

        Raises:
            UserError: it could not be written; the message says why and what was kept.
        """
        self.wait()
        if self._error is not None:
            raise UserError(self._failure()) from self._error

    def _write(
        self, step: int, arrays: Mapping[str, Mapping[str, np.ndarray]], state: dict[str, Any]
    ) -> None:
        try:
            path = write_checkpoint(self.folder, step=step, arrays=arrays, state=state)
        except Exception as error:
            self._error = error
            logger.error("%s", self._failure())
            return
        self._error = None
        logger.info("saved %s", path)
        self._set_aside_later_than(step)
        self._rotate()

    def _failure(self) -> str:
        kept = list_checkpoints(self.folder)
        newest = f"the newest one is {kept[-1][1]}" if kept else "there is none yet"
        reason = getattr(self._error, "strerror", None) or self._error
        return f"checkpoint not saved in {self.folder} ({reason}); {newest}: free some space"

    def _set_aside_later_than(self, step: int) -> None:
        """Rename checkpoints of a future that this run, resumed from before it, will not have."""
        for later, path in list_checkpoints(self.folder):
            if later > step:
                aside = path.with_name(f"superseded_{path.name}")
                try:
                    if aside.exists():
                        shutil.rmtree(aside)
                    move_durably(path, aside)
                except OSError as error:
                    logger.warning("%s of an earlier attempt stays: %s", path, error.strerror)
                else:
                    logger.warning("%s belongs to an earlier attempt: now %s", path, aside.name)

    def _rotate(self) -> None:
        paths = dict(list_checkpoints(self.folder))
        scores = {step: _score(path, self.rotation.best) for step, path in paths.items()}
        for step in self.rotation.doomed(scores):
            try:
                remove_folder(paths[step])
            except OSError as error:
                logger.warning("old checkpoint %s stays: %s", paths[step], error.strerror)


def find_latest(folder: Path, *, foreign: Foreign | None = None) -> Path | None:
    """Return the newest checkpoint that verifies, or None when the folder has none at all.

    Damaged and foreign ones are passed over with one line in the log each.

    Args:
        foreign: says of a checkpoint's state why it does not belong here, or None where it does.

    Raises:
        UserError: there are checkpoints and not one is whole and belongs here.
    """
    checkpoints = list_checkpoints(folder)
    for _, path in reversed(checkpoints):
        try:
            verify_checkpoint(path)
            reason = foreign(read_state(path)) if foreign is not None else None
        except DamagedCheckpoint as error:
            logger.warning("passed over: %s", one_line(error))
            continue
        if reason is None:
            return path
        logger.warning("passed over: checkpoint %s, %s", path, one_line(reason))
    if checkpoints:
        raise UserError(
            f"none of the {len(checkpoints)} checkpoints in {folder} is whole and of this run: "
            "move them away to start again from the beginning"
        )
    return None


def find_best(folder: Path, *, score: str) -> Path | None:
    """Return the checkpoint with the lowest of a named score, or None when none has it."""
    paths = dict(list_checkpoints(folder))
    step = best_step({s: _score(path, score) for s, path in paths.items()})
    return None if step is None else paths[step]


def _score(path: Path, name: str | None) -> float | None:
    if name is None:
        return None
    try:
        value = read_state(path).get("scores", {}).get(name)
    except DamagedCheckpoint:
        return None
    return float(value) if isinstance(value, int | float) else None
