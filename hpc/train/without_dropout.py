"""Networks as they are evaluated, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from mindspore import nn


@contextmanager
def without_dropout(*cells: nn.Cell) -> Iterator[None]:
    """Take Cells out of training mode, and put back those that were in it."""
    were_training = [cell.training for cell in cells]
    for cell in cells:
        cell.set_train(False)
    yield
    for cell, was_training in zip(cells, were_training, strict=True):
        cell.set_train(was_training)
