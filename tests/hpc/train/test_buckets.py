import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from hpc.train.buckets import Flatten, Unflatten, make_layout
from hpc.train.zero import OptimizerShard

SHAPES = {"a": (3, 5), "scalar": (), "long": (2000,), "b": (2, 1024), "last": (7,)}


def random_arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {n: generator.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}


@pytest.mark.parametrize("bucket_bytes", [4, 8200, 1 << 20])
def test_unflatten_undoes_flatten(bucket_bytes):
    layout = make_layout(SHAPES, bucket_bytes=bucket_bytes)
    arrays = random_arrays()
    back = layout.unflatten(layout.flatten(arrays))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


def test_buckets_keep_the_order_and_their_size():
    layout = make_layout(SHAPES, bucket_bytes=8200)
    assert layout.buckets == (("a", "scalar", "long"), ("b",), ("last",))
    assert [layout.rows(b) for b in range(3)] == [2, 2, 1]
    assert [layout.filled(b) for b in range(3)] == [2016, 2048, 7]


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_bucket_can_be_shared_out_evenly(ranks):
    layout = make_layout(SHAPES, bucket_bytes=8200, row_multiple=ranks)
    arrays = random_arrays()
    buckets = layout.flatten(arrays)
    shares = [OptimizerShard(rank=rank, size=ranks) for rank in range(ranks)]
    for bucket in buckets:
        parts = [shard.own_rows(bucket) for shard in shares]
        assert len({part.shape for part in parts}) == 1
        np.testing.assert_array_equal(np.concatenate(parts), bucket)
    for name, array in layout.unflatten(buckets).items():
        np.testing.assert_array_equal(array, arrays[name])


def test_the_compiled_pack_and_unpack_agree_with_the_host():
    arrays = random_arrays()
    layout = make_layout(SHAPES, bucket_bytes=8200)
    sources = [Tensor(array) for array in arrays.values()]
    targets = {n: Parameter(Tensor(np.zeros(s, np.float32)), name=n) for n, s in SHAPES.items()}

    class RoundTrip(nn.Cell):
        def __init__(self):
            super().__init__(auto_prefix=False)
            self.pack = Flatten(layout)
            numbers = range(len(layout.buckets))
            self.unpack = nn.CellList([Unflatten(layout, b, targets) for b in numbers])

        def construct(self, *tensors):
            buckets = self.pack(tensors)
            for number in range(len(buckets)):
                self.unpack[number](buckets[number])
            return buckets

    ms.set_context(mode=ms.GRAPH_MODE)
    buckets = RoundTrip()(*sources)
    for ours, expected in zip(buckets, layout.flatten(arrays), strict=True):
        np.testing.assert_array_equal(ours.asnumpy(), expected)
    for name, target in targets.items():
        np.testing.assert_array_equal(target.asnumpy(), arrays[name])
