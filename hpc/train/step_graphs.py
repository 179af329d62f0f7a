"""The graphs that a training step is made of; `hpc.train.step` puts them together."""

import mindspore as ms
from mindspore import nn, ops

from hpc.train.buckets import LANES, Clear, Flatten, zeros
from hpc.train.optim import AdamW
from hpc.train.zero import OptimizerShard, ReduceScatter, SumOfSquares


class Gradients(nn.Cell):
    """inputs -> gradient buckets and `[1 + scalars]` loss and scalars, of this rank's samples."""

    def __init__(self, loss, parameters, layout, *, scalars: int):
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.has_scalars = scalars > 0
        self.differentiate = ops.value_and_grad(
            loss, None, ms.ParameterTuple(parameters.values()), has_aux=self.has_scalars
        )
        self.pack = Flatten(layout)

    def construct(self, *inputs):
        values, gradients = self.differentiate(*inputs)
        if not self.has_scalars:
            values = (values,)
        return self.pack(gradients), _vector(values)


class Part(nn.Cell):
    """inputs -> the gradient buckets and the scalars of `Gradients` in one tuple."""

    def __init__(self, gradients: Gradients):
        super().__init__(auto_prefix=False)
        self.gradients = gradients

    def construct(self, *inputs):
        buckets, scalars = self.gradients(*inputs)
        return (*buckets, scalars)


class Mean(nn.Cell):
    """Average buckets and scalars over the data group; the scalars ride in the last bucket.

    ``construct(buckets, scalars) -> (buckets, scalars, sum of squares of the buckets)``.
    """

    def __init__(self, group: str | None, size: int):
        super().__init__()
        self.size = size
        self.sum_of_squares = SumOfSquares()
        if size > 1:
            self.reduce = ops.AllReduce(ops.ReduceOp.SUM, group)
            self.join = ops.Concat(0)

    def construct(self, buckets, scalars):
        if self.size == 1:
            return buckets, scalars, self.sum_of_squares(buckets)
        share = 1.0 / self.size
        reduced = ()
        for bucket in buckets[:-1]:
            reduced = (*reduced, self.reduce(bucket) * share)
        last = ops.reshape(buckets[-1], (-1,))
        count = last.shape[0]
        both = self.reduce(self.join((last, scalars))) * share
        last = ops.reshape(ops.slice(both, (0,), (count,)), (-1, LANES))
        reduced = (*reduced, last)
        scalars = ops.slice(both, (count,), (scalars.shape[0],))
        return reduced, scalars, self.sum_of_squares(reduced)


class MeanOfOwnRows(nn.Cell):
    """What `Mean` does, with this rank's rows of the buckets in place of all rows."""

    def __init__(self, shard: OptimizerShard):
        super().__init__()
        self.share = 1.0 / shard.size
        self.sum_of_squares = SumOfSquares()
        self.own_rows = ReduceScatter(shard)
        self.reduce = ops.AllReduce(ops.ReduceOp.SUM, shard.group)

    def construct(self, buckets, scalars):
        reduced = ()
        for bucket in buckets:
            reduced = (*reduced, self.own_rows(bucket) * self.share)
        squares = ops.reshape(self.sum_of_squares(reduced), (1,))
        both = self.reduce(ops.concat((squares, scalars * self.share)))
        return reduced, both[1:], both[0]


class Report(nn.Cell):
    """loss, norm, finiteness, votes and scalars -> one `[4 + scalars]` vector."""

    def construct(self, scalars, norm, is_finite, votes):
        found = _vector((scalars[0], norm, is_finite, votes))
        if scalars.shape[0] == 1:
            return found
        return ops.concat((found, scalars[1:]))


class Update(nn.Cell):
    """control, this rank's buckets and scalars -> the step's report; changes the weights.

    Buckets and scalars times `share` are means over this rank's samples.
    """

    def __init__(self, optimizer: AdamW, mean: nn.Cell, report: Report, *, share: float):
        super().__init__(auto_prefix=False)
        self.optimizer, self.mean, self.report = optimizer, mean, report
        self.share = share

    def construct(self, control, buckets, scalars):
        votes = ops.slice(control, (1,), (1,))
        scalars = ops.concat((scalars * self.share, votes))
        buckets, scalars, squares = self.mean(buckets, scalars)
        votes, scalars = scalars[-1], scalars[:-1]
        norm, is_finite = self.optimizer(
            buckets,
            control[0],
            ops.isfinite(scalars[0]),
            ops.sqrt(squares) * self.share,
            self.share,
        )
        return self.report(scalars, norm, is_finite, votes)


class ApplyTotal(nn.Cell):
    """control and what `Part` gives, summed -> the step's report; changes the weights."""

    def __init__(self, update: Update):
        super().__init__(auto_prefix=False)
        self.update = update

    def construct(self, control, *total):
        return self.update(control, total[:-1], total[-1])


class WholeStep(nn.Cell):
    def __init__(self, gradients: Gradients, update: Update):
        super().__init__(auto_prefix=False)
        self.gradients, self.update = gradients, update

    def construct(self, control, *inputs):
        buckets, scalars = self.gradients(*inputs)
        return self.update(control, buckets, scalars)


class Sums(nn.Cell):
    """Gradients and scalars added up over micro-batches."""

    def __init__(self, layout, *, scalars: int):
        super().__init__(auto_prefix=False)
        self.buckets = ms.ParameterTuple(
            [
                zeros(f"gradient_sum.{b}", (layout.rows(b), LANES))
                for b in range(len(layout.buckets))
            ]
        )
        self.scalars = zeros("scalar_sum", (scalars,))


class Accumulate(nn.Cell):
    def __init__(self, gradients: Gradients, sums: Sums):
        super().__init__(auto_prefix=False)
        self.gradients, self.sums = gradients, sums

    def construct(self, *inputs):
        buckets, scalars = self.gradients(*inputs)
        for b in range(len(buckets)):
            ops.assign_add(self.sums.buckets[b], buckets[b])
        return ops.assign_add(self.sums.scalars, scalars)


class ApplySums(nn.Cell):
    def __init__(self, update: Update, sums: Sums):
        super().__init__(auto_prefix=False)
        self.update, self.sums = update, sums
        self.clear = Clear()

    def construct(self, control):
        report = done = self.update(control, self.sums.buckets, self.sums.scalars)
        for bucket in self.sums.buckets:
            done = self.clear(bucket, done)
        ops.assign(self.sums.scalars, ops.zeros_like(self.sums.scalars))
        return ops.depend(report, done)


def _vector(scalars):
    columns = ()
    for scalar in scalars:
        columns = (*columns, ops.reshape(ops.cast(scalar, ms.float32), (1,)))
    return ops.concat(columns)
