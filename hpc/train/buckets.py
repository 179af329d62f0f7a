"""Many small arrays as a few large ones: gradients travel and optimizers run on buckets.

A bucket is `[R, 1024]` float32: the flattened arrays of neighbouring parameters one after the
other, filled up with zeros. R rows. Large buckets make few collectives and few kernels; several
buckets let the reduction of the first ones overlap with the rest of the backward pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hpc.ops.fused import fused_or_none
from hpc.ops.native.adamw import NativeClear

LANES = 1024


@dataclass(frozen=True)
class FlatLayout:
    """Which parameter lies where in which bucket."""

    shapes: Mapping[str, tuple[int, ...]]
    """Shape of every parameter by its canonical name, in order."""
    buckets: tuple[tuple[str, ...], ...]
    """The names in each bucket, in order."""
    row_multiple: int = 1
    """What R of every bucket is a multiple of, so that as many ranks can share it out."""

    def size(self, name: str) -> int:
        """Return the number of elements of a parameter."""
        return int(np.prod(self.shapes[name], dtype=np.int64))

    def filled(self, bucket: int) -> int:
        """Return the number of elements in a bucket, without its filling."""
        return sum(self.size(name) for name in self.buckets[bucket])

    def rows(self, bucket: int) -> int:
        """Return R, the number of rows of a bucket."""
        return -(-self.filled(bucket) // (LANES * self.row_multiple)) * self.row_multiple

    def flatten(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the buckets that hold these arrays, `[R, 1024]` float32 each."""
        flat = []
        for number, names in enumerate(self.buckets):
            bucket = np.zeros(self.rows(number) * LANES, np.float32)
            start = 0
            for name in names:
                assert arrays[name].shape == self.shapes[name], name
                stop = start + self.size(name)
                bucket[start:stop] = arrays[name].ravel()
                start = stop
            flat.append(bucket.reshape(-1, LANES))
        return flat

    def unflatten(self, buckets: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return views of the buckets as arrays by name; the inverse of `flatten`."""
        arrays = {}
        for names, bucket in zip(self.buckets, buckets, strict=True):
            flat, start = bucket.reshape(-1), 0
            for name in names:
                stop = start + self.size(name)
                arrays[name] = flat[start:stop].reshape(self.shapes[name])
                start = stop
        return arrays


def make_layout(
    shapes: Mapping[str, tuple[int, ...]], *, bucket_bytes: int, row_multiple: int = 1
) -> FlatLayout:
    """Spread parameters, in order, over buckets of at most `bucket_bytes` (or one parameter)."""
    assert shapes, "there is nothing to lay out"
    buckets: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        size = 4 * int(np.prod(shape, dtype=np.int64))
        if buckets[-1] and filled + size > bucket_bytes:
            buckets.append([])
            filled = 0
        buckets[-1].append(name)
        filled += size
    return FlatLayout(
        shapes=dict(shapes), buckets=tuple(map(tuple, buckets)), row_multiple=row_multiple
    )


# HyperMap over a MultitypeFuncGraph compiles several times faster than a loop in construct.
_flatten_one = ops.MultitypeFuncGraph("flatten_one")


@_flatten_one.register("Tensor")
def _flatten_tensor(array):
    return ops.reshape(ops.cast(array, ms.float32), (-1,))


_write_one = ops.MultitypeFuncGraph("write_one")


@_write_one.register("Tensor", "Number", "Number", "Tensor")
def _write_slice(flat, start, size, parameter):
    part = ops.slice(flat, (start,), (size,))
    return ops.assign(parameter, ops.reshape(part, ops.shape(parameter)))


def zeros(name: str, shape: tuple[int, ...]) -> ms.Parameter:
    """Return an array that a step adds to and empties."""
    return ms.Parameter(Tensor(np.zeros(shape, np.float32)), name=name, requires_grad=False)


def assign_zeros(array, after):
    """Set a parameter to zeros once there is `after`. For graphs."""
    # `zeros_like` would compile in a constant of that size, and 0 times a number that is not finite
    # is not 0.
    return ops.assign(array, ops.nan_to_num(ops.depend(array, after), 0.0, 0.0, 0.0) * 0.0)


class Clear(nn.Cell):
    """``construct(bucket, after) -> done``: set a bucket to zeros once there is `after`."""

    def __init__(self):
        super().__init__()
        self.fused = fused_or_none(NativeClear)

    def construct(self, bucket, after):
        if self.fused is not None:
            return self.fused(bucket, after)
        return assign_zeros(bucket, after)


class FlattenBucket(nn.Cell):
    """A tuple of all arrays in the layout's order -> one of the buckets, `[R, 1024]` float32.

    It waits for `after`, where that is given.
    """

    def __init__(self, layout: FlatLayout, bucket: int):
        super().__init__()
        self.each = ops.HyperMap()
        self.join = ops.Concat(0)
        self.first = sum(map(len, layout.buckets[:bucket]))
        self.last = self.first + len(layout.buckets[bucket])
        missing = layout.rows(bucket) * LANES - layout.filled(bucket)
        self.filling = (Tensor(np.zeros(missing, np.float32)),) if missing else ()

    def construct(self, arrays, after=None):
        flat = self.each(_flatten_one, arrays[self.first : self.last])
        if after is not None:
            flat = (ops.depend(flat[0], after), *flat[1:])
        return ops.reshape(self.join((*flat, *self.filling)), (-1, LANES))


class Flatten(nn.Cell):
    """A tuple of arrays in the layout's order -> a tuple of buckets `[R, 1024]` float32."""

    def __init__(self, layout: FlatLayout):
        super().__init__()
        self.pack = nn.CellList([FlattenBucket(layout, b) for b in range(len(layout.buckets))])

    def construct(self, arrays):
        buckets = ()
        for pack in self.pack:
            buckets = (*buckets, pack(arrays))
        return buckets


class Unflatten(nn.Cell):
    """Write a bucket `[R, 1024]` into its parameters."""

    def __init__(self, layout: FlatLayout, bucket: int, parameters: Mapping[str, ms.Parameter]):
        super().__init__(auto_prefix=False)
        names = layout.buckets[bucket]
        sizes = [layout.size(name) for name in names]
        self.each = ops.HyperMap()
        self.starts = tuple(np.cumsum([0, *sizes[:-1]]).tolist())
        self.sizes = tuple(sizes)
        self.targets = ms.ParameterTuple([parameters[name] for name in names])

    def construct(self, bucket):
        flat = ops.reshape(bucket, (-1,))
        self.each(ops.partial(_write_slice, flat), self.starts, self.sizes, self.targets)
        return bucket
