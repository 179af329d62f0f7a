"""Writes the zip files of PyTorch from numpy arrays, so that the tests need no PyTorch."""

import pickle
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

_STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "i8": "LongStorage"}


class _Named:
    """Pickles as the global MODULE.NAME, which need not exist here."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class _Tensor:
    def __init__(self, key: str, array: np.ndarray, change: Mapping[str, Any]):
        itemsize = array.dtype.itemsize
        self.key, self.array = key, array
        self.type_name = change.get("type_name", _STORAGES[array.dtype.str[1:]])
        self.length = change.get("length", array.size)
        self.offset = change.get("offset", 0)
        self.shape = change.get("shape", array.shape)
        self.strides = change.get("strides", tuple(s // itemsize for s in array.strides))


class _Pickler(pickle._Pickler):
    """The pure-Python pickler, which lets a global be named without importing it."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def _save_named(self, named: _Named) -> None:
        self.write(pickle.GLOBAL + f"{named.module}\n{named.name}\n".encode())

    def _save_tensor(self, tensor: _Tensor) -> None:
        self.save(_Named("torch._utils", "_rebuild_tensor_v2"))
        self.write(pickle.MARK)
        storage = _Named("torch", tensor.type_name)
        self.save(("storage", storage, tensor.key, "cpu", tensor.length))
        self.write(pickle.BINPERSID)
        for part in (tensor.offset, tensor.shape, tensor.strides, False, {}):
            self.save(part)
        self.write(pickle.TUPLE + pickle.REDUCE)

    dispatch[_Named] = _save_named
    dispatch[_Tensor] = _save_tensor


def write_torch(
    path: Path, state: Mapping[str, Any], *, change: Mapping[str, Any] | None = None
) -> None:
    """Write nested mappings of arrays; ``change`` falsifies what is declared of every tensor."""
    storages: list[bytes] = []

    def convert(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: convert(item) for key, item in value.items()}
        if isinstance(value, np.ndarray):
            storages.append(value.tobytes())
            return _Tensor(str(len(storages) - 1), value, change or {})
        return value

    structure = BytesIO()
    _Pickler(structure, protocol=2).dump(convert(state))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", structure.getvalue())
        file.writestr("archive/byteorder", "little")
        for key, content in enumerate(storages):
            file.writestr(f"archive/data/{key}", content)
