"""Scores of a network over fixed samples, shared out over the ranks."""

from collections.abc import Callable, Sequence
from typing import Protocol

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.train.compile_cache import Compiler
from hpc.train.without_dropout import without_dropout

VALIDATION_STEP = 2**40
"""Keys the draws of validation: the same at every validation, and no training step's."""


class Evaluation(Protocol):
    """Finds (loss, *scalars), each a mean over the samples, without dropout."""

    def compile(self, *inputs: np.ndarray, compiler: Compiler) -> None:
        """Compile for inputs of these shapes; all ranks call it."""

    def __call__(self, *inputs: np.ndarray) -> list[float]:
        """Evaluate a batch."""


class LossEvaluation:
    """Evaluates a whole loss Cell, ``(*inputs) -> (loss, *scalars)``, on each rank by itself."""

    def __init__(self, loss: nn.Cell) -> None:
        self._loss = loss

    def compile(self, *inputs: np.ndarray, compiler: Compiler) -> None:
        with without_dropout(self._loss):
            compiler(self._loss, *map(ms.Tensor, inputs))

    def __call__(self, *inputs: np.ndarray) -> list[float]:
        with without_dropout(self._loss):
            return [float(output.asnumpy()) for output in self._loss(*map(ms.Tensor, inputs))]


def mean_over_batches(
    evaluation: Evaluation,
    make_inputs: Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, ...]],
    *,
    positions: np.ndarray,
    batch: int,
    names: Sequence[str],
    runtime: Runtime,
    mesh: Mesh,
    compiler: Compiler,
) -> dict[str, float]:
    """Return the mean of each number that an evaluation gives over fixed samples.

    Every data rank evaluates whole batches in turn; the last batch is filled up from the front, so
    that one graph serves all.

    Args:
        evaluation: gives as many numbers as there are names.
        make_inputs: (positions, samples, step) -> inputs.
        positions: of the samples in their split.
        batch: samples at once.
        names: of the numbers.
        runtime: the ranks that share the work.
        mesh: their order; ranks of one pipeline evaluate together.
        compiler: compiles on all ranks, or loads graphs.
    """
    count = -(-len(positions) // batch)
    filled = np.resize(positions, count * batch).reshape(count, batch)
    sums = np.zeros(len(names))
    data_rank, _ = mesh.coordinates(runtime.place.rank)

    def inputs(number: int) -> tuple[np.ndarray, ...]:
        samples = number * batch + np.arange(batch)
        return make_inputs(filled[number], samples, VALIDATION_STEP)

    evaluation.compile(*inputs(0), compiler=compiler)
    for number in range(data_rank, count, mesh.data):
        sums += evaluation(*inputs(number))
    everyone = runtime.all_gather_object(sums.tolist())
    total = np.sum(everyone, axis=0) / (count * mesh.pipeline)
    return dict(zip(names, total.tolist(), strict=True))
