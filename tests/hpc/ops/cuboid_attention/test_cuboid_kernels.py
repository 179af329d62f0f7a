"""The Ascend C kernels, run by the referee: right numbers, and no rule of the hardware broken."""

import ctypes
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from cases import GEOMETRIES, random_call
from emulated_attention import emulator_library, emulator_settings, last_report
from float64_attention import attention, attention_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn, ops

from hpc.ops.cuboid_attention.geometry import cuboid_geometry
from hpc.ops.cuboid_attention.kernel_operands import (
    padded_mask,
    padded_relative_positions,
    padded_volume,
)
from hpc.ops.cuboid_attention.op import CuboidAttention
from hpc.ops.cuboid_attention.plan import plan_error

TOLERANCE = {np.float32: 1e-5, np.float16: 2e-3}
VECTOR_KEY, CUBE_KEY = 1, 2
ODD, EVEN = 5, 6  # numbers of vector cores: two and a cube core are a block


def launch(name, arrays):
    """Call an operator of the emulator's library as the framework would, without the framework.

    numpy has no bfloat16: such operands come as their bits, uint16.
    """
    library = ctypes.CDLL(str(emulator_library()))
    library.CuboidAttentionLastError.restype = ctypes.c_char_p
    count = len(arrays)
    shapes = [(ctypes.c_int64 * a.ndim)(*a.shape) for a in arrays]
    pointer = ctypes.POINTER(ctypes.c_int64)
    status = getattr(library, name)(
        count,
        (ctypes.c_void_p * count)(*[a.ctypes.data for a in arrays]),
        (ctypes.c_int * count)(*[a.ndim for a in arrays]),
        (pointer * count)(*[ctypes.cast(shape, pointer) for shape in shapes]),
        (ctypes.c_char_p * count)(
            *[b"bfloat16" if a.dtype == np.uint16 else a.dtype.name.encode() for a in arrays]
        ),
        None,
        None,
    )
    assert status == 0, library.CuboidAttentionLastError().decode()


def operands(geometry, call, cores):
    dropout = np.zeros(1, np.float32) if call.dropout is None else call.dropout
    scale = call.qkv.shape[-1] ** -0.5
    return [
        call.qkv,
        call.table,
        padded_relative_positions(geometry),
        padded_mask(geometry),
        dropout,
        emulator_settings(geometry, scale=scale, cores=cores),
    ]


def forward(geometry, call, cores):
    batch, *grid, _, heads, width = call.qkv.shape
    out = np.empty((batch, *grid, heads * width), call.qkv.dtype)
    launch("CuboidAttentionEmulated", [*operands(geometry, call, cores), out])
    return out


def gradient(geometry, call, cores, slices=None):
    volume, heads = geometry.volume, call.table.shape[1]
    dqkv = np.empty_like(call.qkv)
    partial = np.empty((slices or cores, heads, volume, padded_volume(volume)), np.float32)
    launch(
        "CuboidAttentionEmulatedGrad", [*operands(geometry, call, cores), call.dout, dqkv, partial]
    )
    dtable = np.zeros(call.table.shape)
    np.add.at(
        dtable,
        geometry.relative_positions,
        partial.sum(0, dtype=np.float64)[:, :, :volume].transpose(1, 2, 0),
    )
    return dqkv, dtable


def error(value, expected):
    return np.abs(value - expected).max() / max(1.0, np.abs(expected).max())


def check(geometry, call, cores):
    tolerance = TOLERANCE[call.qkv.dtype.type]
    expected = attention(geometry, call.qkv, call.table, call.dropout)
    assert error(forward(geometry, call, cores), expected) < tolerance
    expected = attention_gradient(geometry, call.qkv, call.table, call.dropout, call.dout)
    for value, wanted in zip(gradient(geometry, call, cores), expected, strict=True):
        assert error(value, wanted) < tolerance


@pytest.mark.parametrize(
    ("dtype", "cores"), [(np.float32, EVEN), (np.float16, ODD), (np.float16, EVEN)]
)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_kernels_match_float64(name, dtype, cores):
    geometry = cuboid_geometry(**GEOMETRIES[name])
    for with_dropout, batch, heads, width in [(False, 1, 2, 64), (True, 2, 3, 16)]:
        check(geometry, random_call(geometry, batch, heads, width, dtype, with_dropout), cores)
        cube = dtype == np.float16 and cores == EVEN
        cube = cube and geometry.mask is None and geometry.volume <= 16
        assert last_report()["tiling_key"] == (CUBE_KEY if cube else VECTOR_KEY)


def test_a_core_takes_several_groups_of_heads_while_every_buffer_of_its_queues_is_in_use():
    geometry = cuboid_geometry(**GEOMETRIES["shifted windows"])
    check(geometry, random_call(geometry, 1, 4, 64, np.float16, True), cores=1)


@given(
    data=st.tuples(*[st.integers(1, 6)] * 3),
    size=st.tuples(*[st.integers(1, 4)] * 3),
    shift=st.tuples(*[st.integers(0, 2)] * 3),
    strategy=st.tuples(*[st.sampled_from("ld")] * 3),
    padding=st.sampled_from(["zeros", "ignore"]),
    shape=st.sampled_from([(1, 16), (2, 48), (1, 128), (4, 32)]),
    dtype=st.sampled_from([np.float32, np.float16]),
    with_dropout=st.booleans(),
    cores=st.integers(1, 7),
)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_the_kernels_match_float64_on_any_cut(
    data, size, shift, strategy, padding, shape, dtype, with_dropout, cores
):
    shift = tuple(min(s, b - 1) for s, b in zip(shift, size, strict=True))
    geometry = cuboid_geometry(
        data=data, cuboid_size=size, shift_size=shift, strategy=strategy, padding=padding
    )
    heads, width = shape
    if plan_error(geometry, heads=heads, width=width) is None:
        check(geometry, random_call(geometry, 1, heads, width, dtype, with_dropout), cores)


def bits_of(x):
    """Return the bits of the nearest bfloat16, ties to even, of float32 numbers."""
    wide = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((wide + 0x7FFF + (wide >> 16 & 1)) >> 16).astype(np.uint16)


def value_of(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("cores", [3, 4])
@pytest.mark.parametrize("name", ["axial in time", "shifted windows, padding ignored"])
def test_bfloat16_rows_are_computed_in_float(name, cores):
    geometry = cuboid_geometry(**GEOMETRIES[name])
    call = random_call(geometry, 1, 2, 64, np.float32, False)
    qkv, dout = bits_of(call.qkv), bits_of(call.dout)
    narrow = replace(call, qkv=qkv, dout=dout)
    expected = attention(geometry, value_of(qkv), call.table)
    assert error(value_of(forward(geometry, narrow, cores)), expected) < 2**-8
    dqkv, dtable = gradient(geometry, narrow, cores)
    wanted = attention_gradient(geometry, value_of(qkv), call.table, None, value_of(dout))
    assert error(value_of(dqkv), wanted[0]) < 2**-8
    assert error(dtable, wanted[1]) < 1e-5


@pytest.mark.parametrize("numbers", [(1, 3, 47), (2, 6, 48)], ids=["vector", "cube"])
def test_the_number_of_cores_changes_no_output_beyond_rounding(numbers):
    geometry = cuboid_geometry(**GEOMETRIES["axial in time"])
    call = random_call(geometry, 1, 4, 32, np.float16, False)
    one, *others = numbers
    dqkv, dtable = gradient(geometry, call, one)
    for cores in others:
        np.testing.assert_array_equal(forward(geometry, call, cores), forward(geometry, call, one))
        # A gradient may be cut into other passes, whose sums are rounded otherwise.
        other, other_table = gradient(geometry, call, cores)
        np.testing.assert_allclose(other, dqkv, rtol=2**-9, atol=2**-12)
        np.testing.assert_allclose(other_table, dtable, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "cores", "key", "moved_most", "forward_most", "gradient_most"),
    [
        (np.float16, 48, CUBE_KEY, 1.5, 8.0, 11.6),
        (np.float16, 47, VECTOR_KEY, 1.02, 17.0, 39.0),
        (np.float32, 48, VECTOR_KEY, 1.02, 16.3, 40.0),
    ],
    ids=["cube", "vector", "float"],
)
def test_a_level_0_call_stays_within_the_estimate_that_the_documentation_gives(
    dtype, cores, key, moved_most, forward_most, gradient_most
):
    geometry = cuboid_geometry(data=(13, 16, 16), cuboid_size=(13, 1, 1))
    call = random_call(geometry, 1, 4, 64, dtype, False)
    forward(geometry, call, cores)
    report = last_report()
    assert report["tiling_key"] == key
    moved = sum(report["pipes"][pipe]["bytes_of_launch"] for pipe in ("MTE2", "MTE3", "FIX"))
    least = 4 * 13 * 16 * 16 * 256 * np.dtype(dtype).itemsize
    assert least <= moved < moved_most * least
    assert report["unified_buffer_bytes"] <= 192 * 1024
    assert report["microseconds"] < forward_most
    gradient(geometry, call, cores)
    assert last_report()["microseconds"] < gradient_most


@pytest.mark.parametrize("cores", [ODD, EVEN])
def test_slices_of_the_bias_gradient_without_a_core_are_zero(cores):
    geometry = cuboid_geometry(**GEOMETRIES["axial in time"])
    call = random_call(geometry, 1, 2, 64, np.float16, False)
    for whole, more in zip(
        gradient(geometry, call, cores), gradient(geometry, call, cores, 3 * cores), strict=True
    ):
        np.testing.assert_array_equal(more, whole)


@pytest.mark.parametrize("with_dropout", [False, True])
def test_rounds_take_the_place_of_earlier_ones(with_dropout):
    """Wide heads leave L1 room for four cuboids, and one block computes six."""
    geometry = cuboid_geometry(**GEOMETRIES["axial in width"])
    call = random_call(geometry, 1, 8, 128, np.float16, with_dropout)
    expected = attention(geometry, call.qkv, call.table, call.dropout)
    assert error(forward(geometry, call, 2), expected) < TOLERANCE[np.float16]
    assert last_report()["tiling_key"] == CUBE_KEY
    check(geometry, random_call(geometry, 1, 4, 128, np.float16, with_dropout), 2)
    assert last_report()["tiling_key"] == CUBE_KEY


def test_a_pass_whose_sums_exceed_the_cube_core_takes_the_vector_cores():
    geometry = cuboid_geometry(**GEOMETRIES["axial in width"])
    call = random_call(geometry, 1, 8, 128, np.float16, False)
    expected = attention(geometry, call.qkv, call.table)
    assert error(forward(geometry, call, EVEN), expected) < TOLERANCE[np.float16]
    assert last_report()["tiling_key"] == CUBE_KEY
    gradient(geometry, call, EVEN)
    assert last_report()["tiling_key"] == VECTOR_KEY


def test_a_problem_that_does_not_fit_is_named():
    whole = cuboid_geometry(data=(5, 4, 4), cuboid_size=(5, 4, 4))
    assert "64 tokens" in plan_error(whole, heads=1, width=64)
    small = cuboid_geometry(data=(4, 4, 4), cuboid_size=(4, 4, 4))
    assert "multiple of 16" in plan_error(small, heads=1, width=40)
    assert "unified buffer" in plan_error(small, heads=1, width=128)
    assert plan_error(small, heads=4, width=64) is None


class Gradient(nn.Cell):
    def __init__(self, operator):
        super().__init__()
        self.gradient = ops.GradOperation(get_all=True, sens_param=True)
        self.operator = operator

    def construct(self, qkv, table, dout):
        return self.gradient(self.operator)(qkv, table, dout)


@pytest.mark.usefixtures("emulated_backend")
def test_the_framework_runs_the_emulated_operator_and_its_gradient_in_one_graph():
    ms.set_context(mode=ms.GRAPH_MODE)
    geometry = cuboid_geometry(**GEOMETRIES["shifted windows, padding ignored"])
    call = random_call(geometry, 1, 2, 16, np.float32, False)
    arguments = [Tensor(call.qkv), Tensor(call.table)]
    operator = CuboidAttention(geometry, heads=2, width=16, backend="emulated")
    assert operator.backend == "emulated"
    expected = attention(geometry, call.qkv, call.table)
    assert error(operator(*arguments).asnumpy(), expected) < 1e-5
    expected = attention_gradient(geometry, call.qkv, call.table, None, call.dout)
    gradients = Gradient(operator)(*arguments, Tensor(call.dout))
    for value, wanted in zip(gradients, expected, strict=True):
        assert error(value.asnumpy(), wanted) < 1e-5
