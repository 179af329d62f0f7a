"""Files of weights that mean harm: every one ends in weights or in one line."""

import io
import json
import struct
import zipfile
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from fuzzing import mutated, mutations, read_within_bounds
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from hpc.errors import UserError
from prediff.convert import read_checkpoint
from prediff.convert.inert_pickle import MOST_OPERATIONS, load_inert
from prediff.convert.mindspore_reader import read_mindspore
from prediff.convert.torch_reader import TorchFile

DATA = Path(__file__).parents[2] / "data"
NAMES = {"encoder.w": (2, 3), "decoder.w": (4,), "decoder.b": ()}


def small_weights():
    return {name: np.full(shape, 1.5, np.float32) for name, shape in NAMES.items()}


# --- MindSpore


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def mindspore_array(name: bytes, dims, content: bytes, dtype: bytes = b"Float32") -> bytes:
    sizes = b"".join(varint(1 << 3) + varint(n % 2**64) for n in dims)
    tensor = sizes + field(2, dtype) + field(3, content)
    return field(1, field(1, name) + field(2, tensor))


ENCODER = mindspore_array(b"encoder.w", [1], b"\0" * 4)


@pytest.mark.parametrize(
    ("dims", "content", "dtype", "message"),
    [
        ([1], b"\1" * 4000, b"Float32", "needs 4 bytes and has 4000"),
        ([100000], b"\0" * 4, b"Float32", "needs 400000 bytes and has 4"),
        ([-5], b"\0" * 4, b"Float32", "which no array has"),
        ([0, 2**62, 2**62], b"", b"Float32", "which no array has"),
        ([2**62, 2**62, 2**62], b"", b"Float32", "which no array has"),
        ([1] * 9, b"\0" * 4, b"Float32", "dimensions"),
        ([2], b"\0" * 4, b"Int4", "Int4"),
        ([2], b"\0" * 8, b"Float32\x1b[2J", "has the type"),
        ([0], b"\0" * 8, b"Float32", "needs 4 bytes and has 8"),
    ],
)
def test_a_mindspore_array_whose_bytes_are_not_its_shape_is_refused(
    tmp_path, dims, content, dtype, message
):
    path = tmp_path / "w.ckpt"
    path.write_bytes(ENCODER + mindspore_array(b"decoder.w", dims, content, dtype))
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_what_mindspore_itself_writes_is_read_value_by_value(tmp_path):
    given_ = {
        "net.a.weight": ms.Tensor(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "net.half": ms.Tensor(np.array([1.5, -2], np.float16)),
        "net.wide": ms.Tensor(np.array([[1.5]], np.float64)),
        "net.number": ms.Tensor(np.array(7, np.int32)),
        "net.flags": ms.Tensor(np.array([True, False])),
        "net.brain": ms.Tensor(np.array([1.5, -3.25], np.float32)).astype(ms.bfloat16),
    }
    parameters = [{"name": name, "data": value} for name, value in given_.items()]
    for check in (False, True):
        path = tmp_path / f"{check}.ckpt"
        ms.save_checkpoint(parameters, str(path), append_info={"epoch": 3}, crc_check=check)
        found = read_mindspore(path)
        for name, value in given_.items():
            expected = value.astype(ms.float32) if name == "net.brain" else value
            np.testing.assert_array_equal(found[name], expected.asnumpy(), err_msg=name)


def test_pieces_of_a_large_mindspore_array_are_put_together(tmp_path):
    values = np.arange(10, dtype="<f4").tobytes()
    pieces = [mindspore_array(b"encoder.w", [10], part) for part in (values[:16], values[16:])]
    path = tmp_path / "w.ckpt"
    path.write_bytes(b"".join(pieces))
    np.testing.assert_array_equal(read_mindspore(path)["encoder.w"], np.arange(10))
    path.write_bytes(pieces[0] + ENCODER.replace(b"encoder", b"decoder") + pieces[1])
    with pytest.raises(UserError, match="stands twice"):
        read_mindspore(path)


# --- safetensors


def safetensors_file(path: Path, header, data: bytes = b"", *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"encoder.w": entry([2**40], 0, 4)}, "needs"),
        ({"encoder.w": entry([1], 0, 2**62)}, "beyond the end"),
        ({"encoder.w": entry([1], 4, 8)}, "beyond the end|does not begin"),
        ({"encoder.w": entry([-1], 0, 4)}, "not a list of numbers"),
        ({"encoder.w": entry([True], 0, 4)}, "not a list of numbers"),
        ({"encoder.w": entry([1.0], 0, 4)}, "not a list of numbers"),
        ({"encoder.w": entry([0] + [2**62] * 3, 0, 0)}, "which no array has"),
        ({"encoder.w": entry([1], 0, 4, "F8_E4M3")}, "F8_E4M3"),
        ({"encoder.w": entry([1], 0, 4, ["F32"])}, "type"),
        ({"encoder.w": entry([1], 0, 4), "decoder.w": entry([1], 0, 4)}, "does not begin"),
        ({"encoder.w" * 1000: entry([1], 0, 4)}, "a name of 9000 characters"),
        ({"a\x1b[2J": entry([1], 0, 4)}, "a name of"),
        ({"encoder.w": 3}, "lacks its type"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"{" + b'"a":[' * 4000, "no JSON"),
        (b"{" + b'"a":[' * 400_000, "no JSON"),
        (b"{]", "no JSON"),
    ],
)
def test_a_safetensors_header_that_does_not_fit_its_file_is_refused(tmp_path, header, message):
    path = safetensors_file(tmp_path / "w.safetensors", header, b"\0" * 4)
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(path)
    assert len(str(caught.value)) < 1000


def test_a_header_longer_than_the_file_takes_no_memory(tmp_path):
    path = safetensors_file(tmp_path / "w.safetensors", b"{}", length=2**60)
    with pytest.raises(UserError, match="header of"):
        read_checkpoint(path)
    path = safetensors_file(tmp_path / "big.safetensors", b"{" + b" " * 9_000_000 + b"}")
    with pytest.raises(UserError, match="header of"):
        read_checkpoint(path)


def test_bfloat16_safetensors_are_read_rightly(tmp_path):
    values = np.array([1.5, -3.25, 1e30, 0.0078125, np.inf], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    header = {
        "encoder.w": entry([5], 0, 10, "BF16"),
        "decoder.w": entry([1, 1], 10, 12, "BF16"),
    }
    path = safetensors_file(tmp_path / "w.safetensors", header, bits.tobytes() + b"\xc0\x3f")
    found = read_checkpoint(path)
    assert found["encoder.w"].dtype == np.float32
    np.testing.assert_allclose(found["encoder.w"], values, rtol=2**-7)
    np.testing.assert_array_equal(found["decoder.w"], [[1.5]])


def test_what_the_library_writes_is_read_like_the_library_does(tmp_path):
    arrays = {
        f"{part}.{dtype}": np.arange(6).reshape(shape).astype(dtype)
        for part, shape in (("encoder", (2, 3)), ("decoder", (6,)))
        for dtype in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
    }
    arrays["encoder.empty"] = np.zeros((0, 3), np.float32)
    arrays["encoder.number"] = np.array(2.0, np.float32)
    save_file(arrays, tmp_path / "w.safetensors", metadata={"format": "pt"})
    found, expected = (
        read_checkpoint(tmp_path / "w.safetensors"),
        load_file(tmp_path / "w.safetensors"),
    )
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# --- PyTorch


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def row(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def tensor(count: int, *, shape=None, strides=None, key="0") -> bytes:
    storage = row(text("storage"), b"ctorch\nFloatStorage\n", text(key), text("cpu"), number(count))
    shape, strides = shape or (count,), strides or (1,)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + row(
        storage + b"Q", number(0), row(*map(number, shape)), row(*map(number, strides)), b"\x89",
        b"}",
    ) + b"R"  # fmt: skip


def torch_file(path: Path, pickled: bytes, storage: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/byteorder", "little")
        file.writestr("a/data/0", storage)
    return path


def state_dict(*values: tuple[str, bytes]) -> bytes:
    return b"\x80\x02}" + b"".join(text(name) + value + b"s" for name, value in values) + b"."


BOTH = (("encoder.w", tensor(2)), ("decoder.w", tensor(2)))


@pytest.mark.parametrize("stride", [-1, -(2**40), 2**40])
@pytest.mark.parametrize("of", [b"", b"0\x30"])
def test_a_tensor_cannot_be_changed_after_it_was_checked(tmp_path, stride, of):
    change = b"}" + text("strides") + row(number(stride)) + b"sb"
    path = torch_file(tmp_path / "w.pt", state_dict(("w", tensor(20000) + change)), bytes(80000))
    with pytest.raises(UserError, match="tries to change"):
        TorchFile(path)


def test_a_storage_cannot_be_changed_either(tmp_path):
    storage = row(text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), number(2))
    change = b"}" + text("length") + number(2**40) + b"sb"
    for state in (change, b"N" + change[:-1] + b"\x86b"):
        path = torch_file(tmp_path / "w.pt", b"\x80\x02" + storage + b"Q" + state + b".", bytes(8))
        with pytest.raises(UserError, match="tries to change"):
            TorchFile(path)


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02Nr\xff\xff\xff\xff0N.", None),  # an index of 2^32 that C's pickle makes room for
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "cannot be read"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b".", "cannot be read"),
        (b"\x80\x02}" + row(text("a")) + b"Ns.", "neither a text nor a number"),
        (b"\x80\x02}((tNu.", "neither a text nor a number"),
        (b"\x80\x02" + b"(" * 50_000 + b"t" * 50_000 + b".", None),
        (b"\x80\x02" + b"}" * (MOST_OPERATIONS + 1), "operations"),
        (b"\x80\x02" + b"2" * 10 + b".", "cannot be read"),
        (b"I" + b"9" * 10_000 + b"\n.", "cannot be read"),
        (b"", "cannot be read"),
        (b"\x80\x02Q.", "cannot be read"),
        (b"\x80\x02(Q.", "cannot be read"),
        (b"\x80\x02\x89Q.", "unknown kind"),
    ],
)
def test_a_pickle_takes_bounded_time_and_memory(tmp_path, pickled, message):
    def read(path):
        return load_inert(path.read_bytes())

    if message is None:
        read_within_bounds(read, tmp_path / "p", pickled)
        return
    (tmp_path / "p").write_bytes(pickled)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "p")


def test_a_key_of_nested_tuples_gives_a_short_error_at_once(tmp_path):
    key = b")q\x00" + b"h\x00h\x00\x86q\x00" * 60  # 2^60 elements, were they counted
    with pytest.raises(UserError, match="neither a text nor a number") as caught:
        load_inert(b"\x80\x02}" + key + b"Ns.")
    assert len(str(caught.value)) < 200


def test_tensors_that_lie_over_one_another_cannot_take_more_than_their_file(tmp_path):
    many = [(f"encoder.{i}", tensor(25_000)) for i in range(1000)]
    path = torch_file(tmp_path / "w.pt", state_dict(*many, *[("decoder.w", tensor(25_000))]),
                      bytes(100_000))  # fmt: skip
    with pytest.raises(UserError, match="would take 100100000 bytes"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("shape", "strides", "message"),
    [
        ((1,), (2**62,), None),
        ((0, 2**62), (1, 1), "which no array has"),
        ((0, 3), (1, 1), None),
        ((1,) * 40, (1,) * 40, "malformed"),
        ((2**62,), (1,), "beyond its storage|would take"),
    ],
)
def test_odd_shapes_of_a_tensor_end_in_an_array_or_a_line(tmp_path, shape, strides, message):
    odd = tensor(2, shape=shape, strides=strides)
    pickled = state_dict(("encoder.w", odd), ("decoder.w", tensor(2)))
    path = torch_file(tmp_path / "w.pt", pickled, bytes(8))
    if message is None:
        assert read_checkpoint(path)["encoder.w"].shape == shape
        return
    with pytest.raises(UserError, match=message):
        read_checkpoint(path)


def test_names_without_end_are_refused(tmp_path):
    path = torch_file(tmp_path / "w.pt", state_dict(*BOTH, ("x" * 10**6, tensor(2))), bytes(8))
    with pytest.raises(UserError, match="a name of 1000000 characters") as caught:
        read_checkpoint(path)
    assert len(str(caught.value)) < 1000


# --- mutations


def valid_files() -> dict[str, bytes]:
    with io.BytesIO() as stream:
        with zipfile.ZipFile(stream, "w") as file:
            file.writestr("a/data.pkl", state_dict(*BOTH))
            file.writestr("a/data/0", bytes(8))
        small = stream.getvalue()
    header = json.dumps({"encoder.w": entry([1], 0, 4), "decoder.w": entry([2], 4, 12)}).encode()
    return {
        "torch": (DATA / "torch_2_13.pt").read_bytes(),
        "lightning": (DATA / "torch_2_13_lightning.ckpt").read_bytes(),
        "small torch": small,
        "mindspore": ENCODER + mindspore_array(b"decoder.w", [2, 1], b"\0" * 8),
        "safetensors": struct.pack("<Q", len(header)) + header + bytes(12),
    }


FILES = valid_files()


@pytest.mark.parametrize("kind", FILES)
@given(data=st.data())
def test_a_mutated_file_ends_in_weights_or_in_one_line(kind, data, tmp_path_factory):
    changes = data.draw(mutations(len(FILES[kind])))
    path = tmp_path_factory.getbasetemp() / "mutated"
    read_within_bounds(read_checkpoint, path, mutated(FILES[kind], changes))


PICKLES = {"small": state_dict(*BOTH)} | {
    name: zipfile.ZipFile(DATA / name).read(root + "/data.pkl")
    for name, root in (
        ("torch_2_13.pt", "torch_2_13"),
        ("torch_2_13_lightning.ckpt", "torch_2_13_lightning"),
    )
}


@pytest.mark.parametrize("kind", PICKLES)
@given(data=st.data())
def test_a_mutated_pickle_in_a_whole_zip_ends_in_weights_or_in_one_line(
    kind, data, tmp_path_factory
):
    changes = data.draw(mutations(len(PICKLES[kind])))
    path = tmp_path_factory.getbasetemp() / "mutated"
    torch_file(path, mutated(PICKLES[kind], changes), bytes(8))
    read_within_bounds(read_checkpoint, path, path.read_bytes())


def test_the_files_that_are_mutated_are_read_when_they_are_whole(tmp_path):
    for kind in ("small torch", "mindspore", "safetensors"):
        (tmp_path / kind).write_bytes(FILES[kind])
        assert set(read_checkpoint(tmp_path / kind)) == {"encoder.w", "decoder.w"}
