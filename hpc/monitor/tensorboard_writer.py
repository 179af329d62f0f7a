"""TensorBoard events of one stage, written by one rank."""

import errno
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams, scalar

from hpc.monitor.training_curves import DESCRIPTIONS

_full_disks: list[OSError] = []
"""What ended a thread that writes events. The next record raises it: without its thread the queue
would fill, and the training wait for ever."""


def _keep_full_disks(ended: threading.ExceptHookArgs) -> None:
    error = ended.exc_value
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _full_disks.append(error)
    else:
        threading.__excepthook__(ended)


class TensorBoardWriter:
    """Writes curves, pictures and texts; one without a folder (other ranks) writes nothing.

    Args:
        folder: of the events, or None.
        next_step: the first step of this launch; what a killed launch wrote from there on is
            hidden by TensorBoard.
    """

    def __init__(self, folder: Path | None, *, next_step: int = 0) -> None:
        self._writer = None
        if folder is not None:
            threading.excepthook = _keep_full_disks
            self._writer = SummaryWriter(str(folder), purge_step=next_step or None, flush_secs=10)

    def scalars(self, values: Mapping[str, float], *, step: int) -> None:
        """Add one point to each named curve; they are one record of the file.

        Raises:
            OSError: the disk is full.
        """
        if _full_disks:
            raise _full_disks.pop()
        if self._writer is not None and values:
            record = Summary()
            for tag, value in values.items():
                record.MergeFrom(scalar(tag, value, summary_description=DESCRIPTIONS.get(tag, "")))
            self._writer.file_writer.add_summary(record, step)

    def picture(self, tag: str, picture_HWC: np.ndarray, *, step: int) -> None:
        """Add a uint8 RGB picture ``[height, width, 3]``."""
        if self._writer is not None:
            self._writer.add_image(tag, picture_HWC, step, dataformats="HWC")

    def text(self, tag: str, text: str, *, step: int = 0) -> None:
        """Add a Markdown text."""
        if self._writer is not None:
            self._writer.add_text(tag, text, step)

    def layout(self, charts: Mapping[str, Mapping[str, list[Any]]]) -> None:
        """Lay out the tab Custom Scalars: charts by category and title."""
        if self._writer is not None:
            self._writer.add_custom_scalars({name: dict(of) for name, of in charts.items()})

    def hyperparameters(self, values: Mapping[str, bool | int | float | str]) -> None:
        """Say what the run was made with, so that the tab HParams has a row of it.

        Its columns of scores are the run's curves, which go on while it trains.
        """
        if self._writer is not None:
            # Without the experiment's summary, TensorBoard takes the columns of all runs together.
            _, start, end = hparams(dict(values), {})
            self._writer.file_writer.add_summary(start)
            self._writer.file_writer.add_summary(end)

    def flush(self) -> None:
        """Write what was added so far: steps before a checkpoint are not made again."""
        if _full_disks:
            raise _full_disks.pop()
        if self._writer is not None:
            self._writer.flush()

    def __enter__(self) -> "TensorBoardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
