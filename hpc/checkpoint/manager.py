"""When a training saves, and what it keeps: all ranks bring the state together, one writes it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hpc.checkpoint.store import CheckpointWriter, Rotation


class State(Protocol):
    """What a step changes, on the host; the attributes name the checkpoint's files."""

    @property
    def model(self) -> Mapping[str, np.ndarray]: ...
    @property
    def optimizer(self) -> Mapping[str, np.ndarray]: ...
    @property
    def ema(self) -> Mapping[str, np.ndarray]: ...


class CheckpointManager:
    """Saves every so many steps and at the last one.

    Args:
        folder: of the checkpoints; None on ranks that write nothing.
        every: steps between two checkpoints.
        last: the last step.
        rotation: which checkpoints to keep.
    """

    def __init__(self, folder: Path | None, *, every: int, last: int, rotation: Rotation):
        self._every, self._last = every, last
        self._writer = None if folder is None else CheckpointWriter(folder, rotation=rotation)

    def is_due(self, step: int) -> bool:
        """Return whether a checkpoint belongs after so many steps."""
        return step % self._every == 0 or step == self._last

    def save(self, *, step: int, export: Callable[[], State], about: Mapping[str, Any]) -> None:
        """Copy the state off the devices, on all ranks; writing goes on beside the next steps.

        Args:
            step: optimizer steps made so far.
            export: copies the state; what is spread over ranks, all of them bring together.
            about: for ``state.json``; see `CheckpointWriter.save`.
        """
        state = export()
        if self._writer is not None:
            groups = {"model": state.model, "optimizer": state.optimizer, "ema": state.ema}
            arrays = {name: group for name, group in groups.items() if group}
            self._writer.save(step=step, arrays=arrays, state=about)

    def finish(self) -> None:
        """Wait for the newest checkpoint.

        Raises:
            UserError: it could not be written.
        """
        if self._writer is not None:
            self._writer.finish()
