"""Which backend an attention layer takes, and what it says where it cannot."""

import mindspore as ms
import numpy as np
import pytest
from cases import GEOMETRIES, random_call
from mindspore import Tensor

from hpc.errors import UserError
from hpc.ops.cuboid_attention.ascend import operator_installed
from hpc.ops.cuboid_attention.geometry import cuboid_geometry
from hpc.ops.cuboid_attention.native import native_library
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
    for backend in ("native", "ascend"):
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


@pytest.fixture
def nothing_built():
    """Forget which libraries this process has found, before and after."""
    native_library.cache_clear()
    yield
    native_library.cache_clear()


@pytest.mark.usefixtures("nothing_built")
@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("PATH", "/nowhere", "no C++ compiler `g++`"),
        ("XDG_CACHE_HOME", "/proc/nowhere", "cache folder /proc/nowhere/prediff-hpc cannot be"),
    ],
    ids=["no compiler", "an unwritable cache folder"],
)
def test_a_host_that_cannot_build_takes_the_reference_and_says_why(
    variable, value, reason, monkeypatch, caplog
):
    monkeypatch.setenv(variable, value)
    for backend in ("auto", "native"):
        made = CuboidAttention(cuboid_geometry(**AXIAL), heads=2, width=64, backend=backend)
        assert made.backend == "reference"
    assert caplog.text.count(reason) == 1


def test_the_ascend_operator_counts_as_installed_where_its_header_is(tmp_path, monkeypatch):
    monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", f"{tmp_path}/missing:{tmp_path}/vendor")
    assert not operator_installed()
    header = tmp_path / "vendor" / "op_api" / "include" / "aclnn_cuboid_attention.h"
    header.parent.mkdir(parents=True)
    header.touch()
    assert operator_installed()


def test_types_that_an_operator_does_not_know_are_cast_or_left_to_the_reference():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    geometry = cuboid_geometry(**AXIAL)
    call = random_call(geometry, 1, 2, 16, np.float32, False)
    made = CuboidAttention(geometry, heads=2, width=16, backend="native")
    table = Tensor(call.table.astype(np.float16))
    mixed = made(Tensor(call.qkv), table).asnumpy()
    plain = made(Tensor(call.qkv), table.astype(ms.float32)).asnumpy()
    np.testing.assert_array_equal(mixed, plain)
    wide = made(Tensor(call.qkv.astype(np.float64)), Tensor(call.table))
    assert wide.dtype == ms.float64
    np.testing.assert_allclose(
        wide.asnumpy(), made.reference(Tensor(call.qkv), Tensor(call.table)).asnumpy(), atol=1e-5
    )


@pytest.mark.usefixtures("emulated_backend")
def test_bfloat16_runs_in_the_kernels_and_elsewhere_in_the_reference():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    geometry = cuboid_geometry(**AXIAL)
    call = random_call(geometry, 1, 2, 16, np.float32, False)
    qkv = Tensor(call.qkv, ms.bfloat16)
    exact = CuboidAttention(geometry, heads=2, width=16, backend="reference")
    wanted = exact(qkv.astype(ms.float32), Tensor(call.table)).asnumpy()
    made = CuboidAttention(geometry, heads=2, width=16, backend="emulated")
    result = made(qkv, Tensor(call.table))
    assert result.dtype == ms.bfloat16
    np.testing.assert_allclose(result.astype(ms.float32).asnumpy(), wanted, atol=2**-7)


def test_operands_of_other_shapes_are_an_error_not_a_wrong_number():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    geometry = cuboid_geometry(**AXIAL)
    call = random_call(geometry, 1, 2, 16, np.float32, False)
    made = CuboidAttention(geometry, heads=2, width=16, backend="native")
    with pytest.raises(Exception, match=r"[Cc]ustom|shape|heads"):
        made(Tensor(call.qkv), Tensor(call.table[:, :1])).asnumpy()
