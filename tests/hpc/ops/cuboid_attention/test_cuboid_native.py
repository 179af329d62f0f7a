"""The native cuboid attention against the float64 definition and the reference composition."""

import mindspore as ms
import numpy as np
import pytest
from cases import GEOMETRIES, random_call
from float64_attention import attention, attention_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn, ops

from hpc.ops.cuboid_attention.geometry import cuboid_geometry
from hpc.ops.cuboid_attention.native import NativeCuboidAttention
from hpc.ops.cuboid_attention.op import CuboidAttention

TOLERANCE = {np.float32: 1e-5, np.float16: 2e-3}


class Gradient(nn.Cell):
    def __init__(self, operator):
        super().__init__()
        self.gradient = ops.GradOperation(get_all=True, sens_param=True)
        self.operator = operator

    def construct(self, qkv, table, dropout, dout):
        return self.gradient(self.operator)(qkv, table, dropout, dout)


def error(value, expected):
    """Largest difference, relative to the largest expected value where that is above 1."""
    return np.abs(value.asnumpy() - expected).max() / max(1.0, np.abs(expected).max())


def check(geometry, call):
    operator = NativeCuboidAttention(geometry, scale=call.qkv.shape[-1] ** -0.5)
    dropout = np.zeros(1, np.float32) if call.dropout is None else call.dropout
    arguments = [Tensor(a) for a in (call.qkv, call.table, dropout)]
    tolerance = TOLERANCE[call.qkv.dtype.type]
    expected = attention(geometry, call.qkv, call.table, call.dropout)
    assert error(operator(*arguments), expected) < tolerance
    dqkv, dtable, _ = Gradient(operator)(*arguments, Tensor(call.dout))
    expected = attention_gradient(geometry, call.qkv, call.table, call.dropout, call.dout)
    assert dqkv.dtype == arguments[0].dtype
    assert error(dqkv, expected[0]) < tolerance
    assert error(dtable, expected[1]) < tolerance


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_value_and_gradient_match_float64(name, with_dropout, dtype):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    geometry = cuboid_geometry(**GEOMETRIES[name])
    for batch, heads, width in [(1, 2, 64), (2, 3, 16)]:
        check(geometry, random_call(geometry, batch, heads, width, dtype, with_dropout))


@given(
    data=st.tuples(*[st.integers(1, 7)] * 3),
    size=st.tuples(*[st.integers(1, 4)] * 3),
    shift=st.tuples(*[st.integers(0, 2)] * 3),
    strategy=st.tuples(*[st.sampled_from("ld")] * 3),
    padding=st.sampled_from(["zeros", "ignore"]),
    width=st.sampled_from([16, 32, 48, 128]),
    with_dropout=st.booleans(),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_cut_of_any_grid_matches_float64(
    data, size, shift, strategy, padding, width, with_dropout
):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    shift = tuple(min(s, b - 1) for s, b in zip(shift, size, strict=True))
    geometry = cuboid_geometry(
        data=data, cuboid_size=size, shift_size=shift, strategy=strategy, padding=padding
    )
    check(geometry, random_call(geometry, 2, 2, width, np.float32, with_dropout))


@pytest.mark.parametrize("with_dropout", [False, True])
def test_one_graph_gives_the_gradient_of_the_reference(with_dropout):
    ms.set_context(mode=ms.GRAPH_MODE)
    geometry = cuboid_geometry(**GEOMETRIES["shifted windows, padding ignored"])
    call = random_call(geometry, 2, 2, 32, np.float32, with_dropout)
    arguments = [Tensor(call.qkv), Tensor(call.table)]
    if with_dropout:
        arguments.append(Tensor(call.dropout))
    results = {}
    for backend in ("native", "reference"):
        operator = CuboidAttention(geometry, heads=2, width=32, backend=backend)
        assert operator.backend == backend
        gradient = ops.GradOperation(get_all=True, sens_param=True)

        class Both(nn.Cell):
            def __init__(self, operator, gradient):
                super().__init__()
                self.operator, self.gradient = operator, gradient

            def construct(self, *arguments):
                return self.gradient(self.operator)(*arguments), self.operator(*arguments[:-1])

        gradients, value = Both(operator, gradient)(*arguments, Tensor(call.dout))
        results[backend] = [value.asnumpy(), *(g.asnumpy() for g in gradients[:2])]
    for native, reference in zip(results["native"], results["reference"], strict=True):
        np.testing.assert_allclose(native, reference, atol=2e-5, rtol=1e-5)


def test_a_query_that_sees_nothing_gives_zero():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    geometry = cuboid_geometry(
        data=(1, 3, 5), cuboid_size=(1, 2, 2), padding="ignore", shift_size=(0, 1, 1)
    )
    blind = ~geometry.mask.any(-1)
    assert blind.any()
    call = random_call(geometry, 1, 1, 16, np.float32, False)
    operator = CuboidAttention(geometry, heads=1, width=16, backend="native")
    out = operator(Tensor(call.qkv), Tensor(call.table)).asnumpy().reshape(-1, 16)
    assert np.all(out[geometry.tokens[blind]] == 0)
    assert np.all(np.any(out[geometry.tokens[~blind]] != 0, axis=-1))


def test_the_gradient_agrees_with_finite_differences():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    geometry = cuboid_geometry(data=(3, 2, 2), cuboid_size=(3, 1, 1))
    call = random_call(geometry, 1, 1, 16, np.float32, True)
    operator = NativeCuboidAttention(geometry, scale=0.25)
    dropout, dout = Tensor(call.dropout), call.dout.astype(np.float64)
    dqkv, dtable, _ = Gradient(operator)(
        Tensor(call.qkv), Tensor(call.table), dropout, Tensor(call.dout)
    )

    def loss(qkv, table):
        return (operator(Tensor(qkv), Tensor(table), dropout).asnumpy() * dout).sum()

    rng, step = np.random.default_rng(0), 1e-2
    for chosen, gradient in ((0, dqkv), (1, dtable)):
        operands = [call.qkv, call.table]
        direction = rng.normal(size=operands[chosen].shape).astype(np.float32)
        ends = []
        for sign in (1, -1):
            moved = list(operands)
            moved[chosen] = moved[chosen] + sign * step * direction
            ends.append(loss(*moved))
        numerical = (ends[0] - ends[1]) / (2 * step)
        analytical = (gradient.asnumpy().astype(np.float64) * direction).sum()
        assert abs(numerical - analytical) < 2e-3 * max(1, abs(analytical))
