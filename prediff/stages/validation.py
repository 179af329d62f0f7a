"""Scores of a loss Cell over fixed samples, shared out over the ranks."""

from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.compile_cache import Compiler
from hpc.runtime import Runtime

VALIDATION_STEP = 2**40
"""Keys the draws of validation: the same at every validation, and no training step's."""


def mean_over_batches(
    loss: nn.Cell,
    make_inputs: Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, ...]],
    *,
    positions: np.ndarray,
    batch: int,
    names: Sequence[str],
    runtime: Runtime,
    compiler: Compiler,
) -> dict[str, float]:
    """Return the mean of each of the loss Cell's outputs over fixed samples.

    Every rank evaluates whole batches in turn; the last batch is filled up from the front, so that
    one graph serves all.

    Args:
        loss: ``(*inputs) -> (loss, *scalars)``, each a mean over the samples.
        make_inputs: (positions, samples, step) -> inputs.
        positions: of the samples in their split.
        batch: samples at once.
        names: of the outputs.
        runtime: the ranks that share the work.
        compiler: compiles the Cell on all ranks, or loads its graph.
    """
    was_training = loss.training
    loss.set_train(False)
    count = -(-len(positions) // batch)
    filled = np.resize(positions, count * batch).reshape(count, batch)
    sums = np.zeros(len(names))

    def inputs(number: int) -> list[ms.Tensor]:
        samples = number * batch + np.arange(batch)
        arrays = make_inputs(filled[number], samples, VALIDATION_STEP)
        return [ms.Tensor(array) for array in arrays]

    compiler(loss, *inputs(0))
    for number in range(runtime.place.rank, count, runtime.place.size):
        outputs = loss(*inputs(number))
        sums += [float(output.asnumpy()) for output in outputs]
    loss.set_train(was_training)
    total = np.sum(runtime.all_gather_object(sums.tolist()), axis=0) / count
    return dict(zip(names, total.tolist(), strict=True))
