"""Which backend an attention layer takes, and what it says where it cannot."""

import mindspore as ms
import numpy as np
import pytest
from cases import GEOMETRIES, random_call
from mindspore import Tensor

from hpc.errors import UserError
from hpc.ops.cuboid_attention.geometry import cuboid_geometry
from hpc.ops.cuboid_attention.op import CuboidAttention

AXIAL = GEOMETRIES["axial in time"]


def test_a_cpu_host_takes_the_native_operator():
    assert CuboidAttention(cuboid_geometry(**AXIAL), heads=2, width=64).backend == "native"


@pytest.mark.parametrize(
    ("geometry", "width"),
    [({"data": (5, 4, 4), "cuboid_size": (5, 4, 4)}, 64), (AXIAL, 24)],
    ids=["80 tokens", "a width of 24"],
)
def test_a_shape_that_no_kernel_takes_is_the_reference_or_an_error(geometry, width):
    geometry = cuboid_geometry(**geometry)
    assert CuboidAttention(geometry, heads=2, width=width).backend == "reference"
    for backend in ("native", "emulated", "ascend"):
        with pytest.raises(UserError, match="choose 'reference'"):
            CuboidAttention(geometry, heads=2, width=width, backend=backend)


def test_an_unknown_backend_is_an_error_that_names_the_known_ones():
    with pytest.raises(UserError, match="'cuda' is unknown: choose auto, native"):
        CuboidAttention(cuboid_geometry(**AXIAL), heads=2, width=64, backend="cuda")


def test_the_ascend_operator_off_an_ascend_device_is_the_reference():
    made = CuboidAttention(cuboid_geometry(**AXIAL), heads=2, width=64, backend="ascend")
    assert made.backend == "reference"


def test_a_call_without_table_or_with_global_vectors_gives_the_reference_result():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    geometry = cuboid_geometry(**AXIAL)
    call = random_call(geometry, 1, 2, 16, np.float32, False)
    rng = np.random.default_rng(0)
    keys, values = (Tensor(rng.normal(size=(1, 2, 3, 16)).astype(np.float32)) for _ in range(2))
    results = {}
    for backend in ("native", "reference"):
        made = CuboidAttention(geometry, heads=2, width=16, backend=backend)
        qkv = Tensor(call.qkv)
        results[backend] = (
            made(qkv, None).asnumpy(),
            made(qkv, Tensor(call.table), None, keys, values).asnumpy(),
        )
    for native, reference in zip(*results.values(), strict=True):
        np.testing.assert_allclose(native, reference, atol=1e-5)


def test_operands_of_mixed_types_are_an_error_not_a_wrong_number():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    geometry = cuboid_geometry(**AXIAL)
    call = random_call(geometry, 1, 2, 16, np.float32, False)
    made = CuboidAttention(geometry, heads=2, width=16, backend="native")
    with pytest.raises(Exception, match=r"[Cc]ustom|shape|heads"):
        made(Tensor(call.qkv), Tensor(call.table[:, :1])).asnumpy()
