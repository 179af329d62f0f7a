"""The graphs around MindSpore's own pipeline: a network in stages, its gradients, their collection.

Six things that MindSpore's pipeline needs and does not document, found with MindSpore 2.8:

- Gradients gather in parameters named ``accu_grads.NAME``, which the graph has to mention;
  `PipelineGradReducer`, made for it, does not compile (it uses a name that it never sets).
- What makes the stream between two stages must not be a reshape.
- A micro-batch begins at the first operator with a trained parameter, and MindSpore marks that
  operator's primitive. Functions such as `ops.reshape` share one primitive with all of their uses,
  so the graph gets cycles unless an operator of its own comes first.
- A parameter of several stages is sent from the first one to the others and its gradient back, in
  training only: evaluation finds old values. So each stage has a copy of its own.
- Compiling leaves marks on the operators: training has to be compiled before an evaluation, or its
  messages lose their order.
- It splits the first axis of every operator's inputs over the ranks of a stage where nothing else
  is said operator by operator, and then refuses reshapes. So a stage has one rank.
"""

from collections.abc import Sequence

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops
from mindspore.parallel.nn import Pipeline

from hpc.pipeline.chunk import Chunk
from hpc.train.buckets import Flatten, assign_zeros


class Staged(nn.Cell):
    """The whole network: ``construct(*inputs) -> [1 + scalars]``, loss and scalars.

    Only the loss has a gradient. Piece s is marked as stage s; skips go from piece to piece.
    """

    def __init__(self, chunks: Sequence[Chunk]):
        super().__init__(auto_prefix=False)
        pieces = [_Piece(chunk, stage=s) for s, chunk in enumerate(chunks)]
        self.pieces = nn.CellList(pieces, auto_prefix=False)
        self.start = _Start()
        self.inputs_of = tuple(chunk.inputs for chunk in chunks)
        self.skips_taken = tuple(len(chunk.skips_taken) for chunk in chunks)

    def construct(self, *inputs):
        made, stream, skips = (), (), ()
        for s in range(len(self.pieces)):
            own = ()
            for number in self.inputs_of[s]:
                own = (*own, inputs[number])
            if s == 0:
                own = (self.start(own[0]), *own[1:])
            kept = len(skips) - self.skips_taken[s]
            made = self.pieces[s](*stream, *skips[kept:], *own)
            stream, skips = made[:1], (*skips[:kept], *made[1:])
        values = made[:1]
        for scalar in made[1:]:
            values = (*values, ops.stop_gradient(scalar))
        return ops.stack(values)


class _Start(nn.Cell):
    """x -> x: the first operator of the first stage that has a parameter."""

    def __init__(self):
        super().__init__()
        self.pipeline_stage = 0
        self.one = Parameter(Tensor(1.0, ms.float32), name="pipeline_start")
        self.multiply = ops.Mul()

    def construct(self, x):
        return self.multiply(x, self.one)


class _Piece(nn.Cell):
    """A chunk whose outputs come from an operator that may stand at a border."""

    def __init__(self, chunk: Chunk, *, stage: int):
        super().__init__(auto_prefix=False)
        self.pipeline_stage = stage
        self.cell, self.is_last = chunk.cell, chunk.is_last
        # A parameter: the compiler would take a constant one away.
        self.one = Parameter(
            Tensor(1.0, ms.float32), name=f"pipeline_border.{stage}", requires_grad=False
        )
        self.multiply = ops.Mul()

    def construct(self, *arguments):
        outputs = self.cell(*arguments)
        if self.is_last:
            return outputs
        passed = ()
        for array in outputs:
            passed = (*passed, self.multiply(array, self.one))
        return passed


_wait_for_one = ops.MultitypeFuncGraph("wait_for_one")


@_wait_for_one.register("Tensor", "Tensor")
def _wait_for_gradient(accumulated, gradient):
    return ops.depend(accumulated, gradient)


class AccumulatedGradients(nn.Cell):
    """``construct(*inputs)`` -> the sum over micro-batches of what `Staged` returns.

    On Ascend the compiler has then added the gradients of this rank's parameters to their
    ``accu_grads`` parameters; ranks without the last stage get zeros.
    """

    def __init__(self, micro_batched: Pipeline, parameters: Sequence[Parameter]):
        super().__init__(auto_prefix=False)
        self.weights = ms.ParameterTuple([micro_batched.network.start.one, *parameters])
        self.differentiate = ops.value_and_grad(micro_batched, None, self.weights)
        self.accumulated = self.weights.clone(prefix="accu_grads", init="zeros")
        self.each = ops.HyperMap()
        names = [weight.name for weight in self.weights]
        self._gradient_of = dict(zip(names, self.accumulated, strict=True))

    def accumulated_of(self, parameter: Parameter) -> Parameter:
        """Return where the gradient of a parameter gathers."""
        return self._gradient_of[parameter.name]

    def construct(self, *inputs):
        values, gradients = self.differentiate(*inputs)
        return ops.depend(values, self.each(_wait_for_one, self.accumulated, gradients))


_clear_one = ops.MultitypeFuncGraph("clear_one")


@_clear_one.register("Tensor", "Tensor")
def _clear_tensor(after, array):
    return assign_zeros(array, after)


class Collect(nn.Cell):
    """``construct(values)``: move accumulated gradients and values to the sums of a step.

    Args:
        gradients: of the parameters that a rank holds, in the layout's order; emptied.
        unused: others, only emptied.
        pack: makes buckets of `gradients`.
        sums: those buckets.
        scalar_sums: `[1 + scalars]`.
    """

    def __init__(
        self,
        gradients: Sequence[Parameter],
        unused: Sequence[Parameter],
        *,
        pack: Flatten,
        sums: Sequence[Parameter],
        scalar_sums: Parameter,
    ):
        super().__init__(auto_prefix=False)
        self.gradients, self.pack = ms.ParameterTuple(gradients), pack
        self.emptied = ms.ParameterTuple([*gradients, *unused])
        self.sums, self.scalar_sums = ms.ParameterTuple(sums), scalar_sums
        self.each = ops.HyperMap()

    def construct(self, values):
        buckets = self.pack(self.gradients)
        for b in range(len(buckets)):
            ops.assign_add(self.sums[b], buckets[b])
        self.each(ops.partial(_clear_one, buckets[-1]), self.emptied)
        return ops.assign_add(self.scalar_sums, values)
