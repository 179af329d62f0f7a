"""How a network is built, fed and counted: what every training of this folder offers."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from mindspore import nn

from hpc.cluster.runtime import Runtime
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from prediff.config import Config
from prediff.run_folder import RunFolder
from prediff.training.adversarial_step import AnyStep
from prediff.training.parallelize import Parallelism
from prediff.training.validation import Evaluation

MakeInputs = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, ...]]
"""(positions in the split, global sample numbers, step) -> inputs of the loss Cell."""


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """A network on this rank, with what changes it and what scores it."""

    network: nn.Cell
    step: AnyStep
    evaluation: Evaluation
    scores: tuple[str, ...]
    """Names of the numbers that the evaluation finds, after ``loss``."""


def _no_pictures(network: nn.Cell, board: TensorBoardWriter, step: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What a network is trained and validated on."""

    count: int
    """Of the training split."""
    make_inputs: MakeInputs
    make_validation_inputs: MakeInputs
    validation: np.ndarray
    """Positions in the validation split that are scored, the same ones every time."""
    show: Callable[[nn.Cell, TensorBoardWriter, int], None] = _no_pictures
    """Adds pictures to the board after a validation; only rank 0 calls it."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """Kept in every checkpoint beside the step."""


class Recipe(Protocol):
    """How a network is built, fed and counted: the functions of a module of this folder."""

    def parallelize(self, config: Config, *, ranks: int) -> Parallelism:
        """Return how a number of ranks train the network.

        Raises:
            UserError: the ranks, the batch or the network cannot be cut so; says what works.
        """

    def build(
        self, config: Config, *, runtime: Runtime = ..., parallelism: Parallelism = ...
    ) -> Trainable:
        """Return the network with starting weights; by default on one process."""

    def open_samples(self, folder: RunFolder, config: Config) -> AbstractContextManager[Samples]:
        """Open the samples of a run.

        Raises:
            UserError: they are not there, damaged, or of something else.
        """

    def made_up_inputs(self, config: Config) -> MakeInputs:
        """Return what makes random inputs of the right shapes, for a run without data."""

    def forward(self, config: Config, *, samples: int) -> tuple[nn.Cell, Callable[[], Any]]:
        """Return the network alone and a call that runs it forward on zeros."""

    def operations(self, config: Config) -> float:
        """Return the operations of a sample's forward and backward pass."""
