import dataclasses
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from hpc.train.graph_key import UnknownConstant, graph_key


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    names: tuple[str, ...] = ("a", "b")


class Layer(nn.Cell):
    def __init__(self, *, axis=0, table=(1.0, 2.0), settings=None, width=3, name="weight", scale=2):
        super().__init__()
        self.join = ops.Concat(axis)
        self.table = Tensor(np.array(table, np.float32))
        self.settings = settings or Settings()
        self.weight = Parameter(Tensor(np.zeros(width, np.float32)), name=name)
        self.sub = nn.Dense(2, 2)
        self.pick = lambda x: x * scale
        self.gradient = ops.value_and_grad(self.sub, None, self.sub.trainable_params())

    def construct(self, x):
        return x


def key(cell=None, shape=(2, 3), dtype=np.float32, packages=()) -> str:
    return graph_key(cell or Layer(), [Tensor(np.zeros(shape, dtype))], packages=packages)


def test_equal_cells_have_equal_keys():
    assert key() == key()


@pytest.mark.parametrize(
    "change",
    [
        {"axis": 1},
        {"table": (1.0, 2.5)},
        {"settings": Settings(rate=0.2)},
        {"settings": Settings(names=("a",))},
        {"width": 4},
        {"name": "other"},
        {"scale": 3},
    ],
)
def test_whatever_is_compiled_in_changes_the_key(change):
    assert key(Layer(**change)) != key()


def test_inputs_count_by_shape_and_dtype():
    assert key(shape=(2, 4)) != key()
    assert key(dtype=np.int32) != key()


def test_values_of_parameters_do_not_count():
    layer = Layer()
    layer.weight.set_data(Tensor(np.ones(3, np.float32)))
    assert key(layer) == key()


def test_a_layer_that_was_compiled_by_itself_before_does_not_count():
    layer, x = Layer(), Tensor(np.zeros((2, 2), np.float32))
    layer.sub.compile(x)
    layer.sub(x)
    assert key(layer) == key()


def test_the_mode_and_what_is_trained_count():
    assert key(Layer().set_train()) != key()
    frozen = Layer()
    frozen.weight.requires_grad = False
    assert key(frozen) != key()


def test_a_nested_cell_counts():
    layer = Layer()
    layer.sub = nn.Dense(2, 2, activation="relu")
    assert key(layer) != key()


def test_the_source_code_and_the_version_count(tmp_path: Path, monkeypatch):
    (tmp_path / "a.py").write_text("x = 1")
    first = key(packages=[tmp_path])
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("new")
    assert key(packages=[tmp_path]) == first
    (tmp_path / "a.py").write_text("x = 2")
    assert key(packages=[tmp_path]) != first
    before = key()
    monkeypatch.setattr(ms, "__version__", "0.0")
    assert key() != before


def test_an_attribute_that_cannot_be_told_is_named():
    layer = Layer()
    layer.sub.odd = iter([1])
    with pytest.raises(UnknownConstant, match=r"sub\.odd: list_iterator"):
        key(layer)
