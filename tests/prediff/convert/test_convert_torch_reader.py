"""Reading PyTorch files without PyTorch; PyTorch 2.13 itself wrote `tests/data/torch_2_13*`."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from torch_files import write_torch

from hpc.errors import UserError
from prediff.convert.torch_reader import TorchFile

DATA = Path(__file__).parents[2] / "data"


def arrays(path):
    with TorchFile(path) as file:
        return {name: file.array(entry) for name, entry in file.content.items()}


def test_every_dtype_and_stride_of_a_real_file_is_read_exactly():
    expected = np.load(DATA / "torch_2_13.npz")
    found = arrays(DATA / "torch_2_13.pt")
    assert list(found) == list(expected.files)
    for name in expected.files:
        assert found[name].dtype == expected[name].dtype, name
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_real_lightning_checkpoint_gives_its_tensors_and_drops_its_settings():
    with TorchFile(DATA / "torch_2_13_lightning.ckpt") as file:
        assert file.content["hyper_parameters"] == {"oc": {}}
        weight = file.array(file.content["state_dict"]["torch_nn_module.weight"])
    assert weight.shape == (3, 2)


def test_a_file_written_by_the_tests_reads_back(tmp_path):
    state = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], np.int64)}
    write_torch(tmp_path / "x.pt", state)
    for name, array in arrays(tmp_path / "x.pt").items():
        np.testing.assert_array_equal(array, state[name])


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def write_pickle(path: Path, content: object) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
    return path


@pytest.mark.parametrize("function", [os.system, eval, getattr, __import__, zipfile.ZipFile])
def test_a_pickle_that_calls_anything_is_refused_by_name_and_not_run(tmp_path, function):
    target = tmp_path / "ran"
    path = write_pickle(tmp_path / "evil.pt", {"w": Call(function, f"touch {target}")})
    with pytest.raises(UserError, match=function.__name__.strip("_")) as caught:
        TorchFile(path)
    assert "\n" not in str(caught.value)
    assert "nothing of it was run" in str(caught.value)
    assert not target.exists()


def test_a_pickle_cannot_change_the_objects_that_stand_for_torch(tmp_path):
    setstate = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb."
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        file.writestr("archive/data.pkl", setstate)
    with pytest.raises(UserError, match="tries to change"):
        TorchFile(tmp_path / "x.pt")


def test_a_whole_model_object_is_refused_with_advice(tmp_path):
    module = b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81."
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        file.writestr("archive/data.pkl", module)
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict alone"):
        TorchFile(tmp_path / "x.pt")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_truncated_file_is_one_clear_line(tmp_path, keep):
    whole = (DATA / "torch_2_13.pt").read_bytes()
    size = int(keep * len(whole)) if isinstance(keep, float) else keep
    path = tmp_path / "cut.pt"
    path.write_bytes(whole[:size])
    with pytest.raises(UserError, match="truncated") as caught:
        TorchFile(path)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_the_weights_is_found(tmp_path):
    content = bytearray((DATA / "torch_2_13.pt").read_bytes())
    values = np.load(DATA / "torch_2_13.npz")["plain"].tobytes()
    content[content.find(values)] ^= 1
    path = tmp_path / "flipped.pt"
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="CRC"):
        arrays(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset": 5}, "beyond its storage"),
        ({"shape": (2, 4)}, "beyond its storage"),
        ({"strides": (3, -1)}, "malformed"),
        ({"shape": (2, 3, 1)}, "malformed"),
        ({"shape": (9000, 9000), "strides": (0, 0)}, "repeats"),
        ({"length": 60}, "24 bytes where 240 are declared"),
        ({"type_name": "QInt8Storage"}, "QInt8Storage"),
    ],
)
def test_a_tensor_that_does_not_fit_its_storage_is_refused(tmp_path, change, message):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_torch(tmp_path / "x.pt", {"a": array}, change=change)
    with pytest.raises(UserError, match=message):
        arrays(tmp_path / "x.pt")


def test_a_zip_of_another_kind_and_a_missing_file_say_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        file.writestr("hello.txt", "hello")
    with pytest.raises(UserError, match="not PyTorch's"):
        TorchFile(tmp_path / "x.pt")
    with pytest.raises(UserError, match="no such file"):
        TorchFile(tmp_path / "absent.pt")


def test_order_and_nesting_survive(tmp_path):
    write_torch(tmp_path / "x.pt", OrderedDict(z=np.zeros(1), a=np.ones(2)))
    assert list(arrays(tmp_path / "x.pt")) == ["z", "a"]
