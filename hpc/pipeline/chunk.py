"""What the engine needs to know of a piece of a network, and its compiled passes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mindspore as ms
from mindspore import Parameter, nn, ops

from hpc.train.buckets import FlatLayout, Flatten


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of a network between two cuts.

    Attributes:
        cell: ``construct(*carried, *inputs)``, where `carried` is the stream from the chunk before
            (not for the first chunk) and then the skips that end here. It returns a tuple: the
            stream for the next chunk and the skips that begin here; in the last chunk the loss and
            its scalars, each a mean over the samples.
        parameters: what it uses, by canonical name.
        inputs: numbers of the step's inputs that it takes, in order.
        out_shape: of the stream that leaves it, without the sample axis; None in the last chunk.
        skips_made: shapes of the skips that begin here, without the sample axis.
        skips_taken: of those that end here.
    """

    cell: nn.Cell
    parameters: Mapping[str, Parameter]
    inputs: tuple[int, ...]
    out_shape: tuple[int, ...] | None
    skips_made: tuple[tuple[int, ...], ...] = ()
    skips_taken: tuple[tuple[int, ...], ...] = ()

    @property
    def is_last(self) -> bool:
        return self.out_shape is None


class ChunkBackward(nn.Cell):
    """A chunk's forward pass again and its backward pass, in one graph.

    ``construct(*carried, *inputs, *cotangents)``: the cotangents belong to what the chunk returned;
    the last chunk has none. Returns the gradients of `carried`; the first chunk, which has none,
    returns something to wait for. The parameters' gradients are added to `sums`, and in the last
    chunk the loss and its scalars to `scalar_sums`.

    Args:
        chunk: the piece.
        carried: how many arrays are carried into it.
        layout: of the buckets that the gradients of its parameters fill.
        sums: those buckets.
        scalar_sums: `[1 + scalars]`, loss and scalars.
    """

    def __init__(
        self,
        chunk: Chunk,
        *,
        carried: int,
        layout: FlatLayout,
        sums: Sequence[Parameter],
        scalar_sums: Parameter,
    ):
        super().__init__(auto_prefix=False)
        self.carried, self.is_last = carried, chunk.is_last
        # A child of this Cell: a graph that is loaded gets its weights from the Cell's parameters.
        self.function = chunk.cell if chunk.is_last else _Product(chunk)
        self.differentiate = ops.value_and_grad(
            self.function,
            tuple(range(carried)) or None,
            ms.ParameterTuple([chunk.parameters[name] for name in layout.shapes]),
            has_aux=chunk.is_last,
        )
        self.pack = Flatten(layout)
        self.sums = ms.ParameterTuple(sums)
        self.scalar_sums = scalar_sums

    def construct(self, *arguments):
        values, gradients = self.differentiate(*arguments)
        of_carried = ()
        if self.carried > 0:
            of_carried, gradients = gradients
        if self.carried == 1:
            of_carried = (of_carried,)
        buckets = self.pack(gradients)
        for b in range(len(buckets)):
            ops.assign_add(self.sums[b], buckets[b])
        if self.is_last:
            ops.assign_add(self.scalar_sums, ops.stack(values).astype(ms.float32))
        if self.carried > 0:
            return of_carried
        return (values,)


class _Product(nn.Cell):
    """Sum of a chunk's outputs times their cotangents: its gradient is the chunk's backward."""

    def __init__(self, chunk: Chunk):
        super().__init__(auto_prefix=False)
        self.cell, self.cotangents = chunk.cell, 1 + len(chunk.skips_made)

    def construct(self, *arguments):
        outputs = self.cell(*arguments[: -self.cotangents])
        product = 0.0
        for k in range(self.cotangents):
            product = product + (outputs[k] * arguments[k - self.cotangents]).sum()
        return product
