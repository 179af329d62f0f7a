"""What travels between ranks: plain values come back as they were, anything else is refused."""

import pickle
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpc.cluster.messages import CODE_BYTES, MessageRefused, check_code, code, decode, encode

PLACE = {"secret": b"s" * 32, "group": "world", "number": 3, "sender": 1}

numbers = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
arrays = hnp.arrays(
    st.sampled_from(["<f4", "<f8", "<i8", "|b1", "<U3", "<M8[ns]", "<f2", "|u1"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
values = st.recursive(
    numbers | st.binary() | arrays,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(first: object, second: object) -> bool:
    if isinstance(first, np.ndarray | np.generic):
        return (
            type(first) is type(second)
            and first.dtype == second.dtype
            and first.shape == second.shape
            and first.tobytes() == second.tobytes()
        )
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return (
            type(first) is type(second)
            and len(first) == len(second)
            and all(map(same, first, second))
        )
    return type(first) is type(second) and first == second


@settings(deadline=None)
@given(values)
def test_a_plain_value_comes_back_as_it_was(value):
    assert same(decode(encode(value)), value)


def test_numbers_of_numpy_keep_their_type():
    for value in (np.float32(0.1), np.int64(-3), np.datetime64("2026-12-01T07:00", "ns")):
        assert same(decode(encode(value)), value)
    assert np.isnan(decode(encode(float("nan"))))


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), lambda: 0, 1j])
def test_what_is_not_plain_is_not_sent(value):
    with pytest.raises(TypeError, match="not sent to other ranks"):
        encode(value)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused_and_nothing_else_happens(data):
    with pytest.raises(MessageRefused):
        decode(data + b"\x00" * 7 + b"\xff")


@settings(deadline=None, max_examples=300)
@given(values, st.data())
def test_a_message_with_another_byte_is_a_value_or_is_refused(value, data):
    message = bytearray(encode(value))
    where = data.draw(st.integers(0, len(message) - 1))
    message[where] ^= data.draw(st.integers(1, 255))
    with suppress(MessageRefused):
        decode(bytes(message))


def test_a_pickle_is_refused_and_does_not_run(tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for data in (pickle.dumps(Evil()), encode(pickle.dumps(Evil()))):
        with suppress(MessageRefused):
            assert isinstance(decode(data), bytes)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "head",
    [
        b'{"array": ["<f8", [1000000000000]]}',
        b'{"array": ["<f8", [-1]]}',
        b'{"array": ["|O", [1]]}',
        b'{"array": ["<f8", [true]]}',
        b'{"bytes": 1000000000000}',
        b'{"bytes": -1}',
        b'{"other": 1}',
        b"{}",
        b"[" * 100_000,
    ],
)
def test_a_promise_is_checked_before_memory_is_asked_for(head):
    with pytest.raises(MessageRefused):
        decode(len(head).to_bytes(8, "little") + head + b"12345678")


def test_a_message_counts_once_in_its_place_and_with_the_secret():
    payload = encode([1, 2])
    given_code = code(payload, **PLACE)
    assert len(given_code) == CODE_BYTES
    check_code(given_code, payload, **PLACE)
    for change in ({"secret": b""}, {"group": "other"}, {"number": 4}, {"sender": 0}):
        with pytest.raises(MessageRefused, match="not from this job"):
            check_code(given_code, payload, **PLACE | change)
    with pytest.raises(MessageRefused):
        check_code(given_code, payload + b" ", **PLACE)
