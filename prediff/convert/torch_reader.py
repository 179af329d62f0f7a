"""Tensors of a PyTorch ``.pt``/``.ckpt`` file, read without PyTorch and without running its pickle.

The file is a zip: ``NAME/data.pkl`` holds the structure, ``NAME/data/KEY`` the bytes of each
storage. The pickle may name only the few globals below, each replaced by an inert object of ours;
any other name, and so any code, is refused before something is called.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from hpc.errors import UserError

_DTYPES: dict[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype("<u2"),  # widened to float32 on reading
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
# Lightning keeps the run's settings beside the weights as these containers; they are skipped.
_SETTINGS_MODULES = ("omegaconf.", "typing")
_SETTINGS_CLASSES = {"AttributeDict", "defaultdict"}
_BUILTIN_TYPES = {"dict", "list", "int", "long", "str", "float", "bool", "tuple"}


@dataclass(frozen=True)
class _Storage:
    type_name: str
    key: str
    length: int


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies in the file; ``TorchFile.array`` reads it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Inert:
    """Stands for an allowed global. Its state cannot be set by the pickle."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise UserError("the pickle tries to change what it may only name")

    def __setstate__(self, state: Any) -> NoReturn:
        raise UserError("the pickle tries to change what it may only name")


class _Settings(dict):
    """Swallows a settings container: whatever it was built of is dropped."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Settings":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        return None


def _settings(*args: Any, **kwargs: Any) -> _Settings:
    return _Settings()


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *metadata: Any
) -> TensorEntry:
    if not isinstance(storage, _Storage):
        raise UserError("a tensor without a storage")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise UserError("a tensor with a negative or malformed offset, shape or stride")
    return TensorEntry(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *flags: Any) -> Any:
    return data


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Inert(_rebuild_tensor)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _Inert(_rebuild_parameter)
        if module == "torch" and name in _DTYPES:
            return name
        if module.startswith(_SETTINGS_MODULES):
            return _Settings if module.startswith("omegaconf.") else _Inert(_settings)
        if name in _SETTINGS_CLASSES:
            return _Settings
        if module in ("builtins", "__builtin__") and name in _BUILTIN_TYPES:
            return _Inert(_settings)
        raise UserError(
            f"the pickle names {module}.{name}, which is not a tensor; nothing of it was run. "
            "Save the state_dict alone and convert that"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, type_name, key, _location, length = pid
        if kind != "storage" or type_name not in _DTYPES:
            raise UserError(f"a stored object of unknown kind {kind!r}, {type_name!r}")
        if not (isinstance(key, str) and isinstance(length, int) and length >= 0):
            raise UserError(f"a storage with a malformed key {key!r} or length {length!r}")
        return _Storage(type_name, key, length)


class TorchFile:
    """An open PyTorch file. ``content`` is its structure with ``TensorEntry`` for each tensor.

    Raises:
        UserError: not a zip written by PyTorch, truncated, big-endian, or naming anything but
            tensors and plain containers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file") from None
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(
                f"{path}: not a whole PyTorch file ({error}); it may be truncated: copy it again"
            ) from None
        try:
            self._root = self._find_root()
            self._check_byte_order()
            self.content = self._unpickle()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def array(self, entry: TensorEntry) -> np.ndarray:
        """Read one tensor; bfloat16 becomes float32, everything else keeps its type."""
        storage = entry.storage
        dtype = _DTYPES[storage.type_name]
        name = f"{self._root}/data/{storage.key}"
        last = sum((n - 1) * s for n, s in zip(entry.shape, entry.strides, strict=True))
        count = prod(entry.shape)
        if count and entry.offset + last >= storage.length:
            raise UserError(
                f"{self.path}: a tensor {list(entry.shape)} reaches beyond its storage of "
                f"{storage.length} values; the file is damaged"
            )
        if count > storage.length:
            raise UserError(
                f"{self.path}: a tensor {list(entry.shape)} repeats the values of its storage; "
                "save it with .contiguous()"
            )
        data = self._read(name, storage.length * dtype.itemsize)
        flat = np.frombuffer(data, dtype, storage.length)
        if count == 0:
            view = np.empty(entry.shape, dtype)
        else:
            byte_strides = tuple(s * dtype.itemsize for s in entry.strides)
            view = np.lib.stride_tricks.as_strided(flat[entry.offset :], entry.shape, byte_strides)
        if storage.type_name == "BFloat16Storage":
            return (view.astype(np.uint32) << 16).view(np.float32)
        return np.array(view, order="C")

    def _find_root(self) -> str:
        roots = [n[: -len("/data.pkl")] for n in self._zip.namelist() if n.endswith("/data.pkl")]
        roots = [root for root in roots if "/" not in root]
        if len(roots) != 1:
            raise UserError(f"{self.path}: a zip file, but not PyTorch's (no data.pkl)")
        return roots[0]

    def _check_byte_order(self) -> None:
        name = f"{self._root}/byteorder"
        if name in self._zip.NameToInfo and self._read(name, 6) != b"little":
            raise UserError(f"{self.path}: written on a big-endian machine, which is not supported")

    def _unpickle(self) -> Any:
        stream = BytesIO(self._read(f"{self._root}/data.pkl", None))
        try:
            return _Unpickler(stream).load()
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None
        except Exception as error:  # a hostile pickle can fail in any way; it is never run
            raise UserError(
                f"{self.path}: its structure cannot be read ({type(error).__name__}: {error})"
            ) from None

    def _read(self, name: str, size: int | None) -> bytes:
        try:
            info = self._zip.getinfo(name)
            if info.compress_type != zipfile.ZIP_STORED:
                raise UserError(f"{self.path}: {name} is compressed, which PyTorch never does")
            if size is not None and info.file_size != size:
                raise UserError(
                    f"{self.path}: {name} has {info.file_size} bytes where {size} are declared; "
                    "the file is damaged"
                )
            return self._zip.read(info)
        except (KeyError, zipfile.BadZipFile, EOFError, OSError) as error:
            raise UserError(
                f"{self.path}: {name} cannot be read ({error}); copy it again"
            ) from None
