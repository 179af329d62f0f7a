"""A pickle of which nothing is run: tensors and plain containers, or an error.

The interpreter is Python's own in pure Python, cut down: only the operations that PyTorch writes,
only the globals below, each replaced by an inert object of ours, only plain values as keys, and a
bounded number of operations. (The one in C sets aside memory for whatever index a file names.)
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import Any, ClassVar, NoReturn

import numpy as np

from hpc.errors import UserError
from prediff.convert.stored_array import BFLOAT16, MOST_DIMENSIONS, check_shape, item_bytes

DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
MOST_OPERATIONS = 2_000_000
"""The largest training checkpoint of ours needs 300 thousand."""

# Lightning keeps the run's settings beside the weights as these containers; they are skipped.
_SETTINGS_MODULES = ("omegaconf.", "typing")
_SETTINGS_CLASSES = {"AttributeDict", "defaultdict"}
_BUILTIN_TYPES = {"dict", "list", "int", "long", "str", "float", "bool", "tuple"}
_OPERATIONS = {
    pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE,
    pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1,
    pickle.BINFLOAT, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.EMPTY_TUPLE,
    pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_LIST, pickle.APPEND,
    pickle.APPENDS, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS, pickle.BINPUT,
    pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.BINGET, pickle.LONG_BINGET, pickle.GLOBAL,
    pickle.STACK_GLOBAL, pickle.BINPERSID, pickle.REDUCE, pickle.NEWOBJ, pickle.BUILD,
}  # fmt: skip
_PLAIN = (str, int, float, bool, type(None))
_CHANGE = "the pickle tries to change what it may only name"


class _Unchangeable:
    """What a pickle has made of us keeps what it was checked with."""

    __slots__ = ()

    def __getstate__(self) -> NoReturn:
        raise UserError(_CHANGE)

    def __setstate__(self, state: Any) -> NoReturn:
        raise UserError(_CHANGE)


@dataclass(frozen=True, slots=True)
class Storage(_Unchangeable):
    """The bytes of one or more tensors: their type, the name of their file, and how many values."""

    type_name: str
    key: str
    length: int

    __getstate__ = _Unchangeable.__getstate__
    __setstate__ = _Unchangeable.__setstate__

    @property
    def dtype(self) -> str:
        return DTYPES[self.type_name]

    @property
    def bytes(self) -> int:
        return self.length * item_bytes(self.dtype)


@dataclass(frozen=True, slots=True)
class TensorEntry(_Unchangeable):
    """Where one tensor lies in the file; ``TorchFile.array`` reads it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    __getstate__ = _Unchangeable.__getstate__
    __setstate__ = _Unchangeable.__setstate__


class _Inert(_Unchangeable):
    """Stands for an allowed global."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise UserError(_CHANGE)


class _Mapping(dict):
    """An ordered dictionary; PyTorch gives it a ``_metadata``, which is dropped."""

    __slots__ = ()

    def __init__(self, *args: Any) -> None:
        super().__init__()
        for key, value in args[0] if args else ():
            self[_plain(key)] = value

    def __setstate__(self, state: Any) -> None:
        return None


class _Settings(dict):
    """Swallows a settings container: whatever it was built of is dropped."""

    __slots__ = ()

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
    if not isinstance(storage, Storage):
        raise UserError("a tensor without a storage")
    malformed = UserError("a tensor with a negative or malformed offset, shape or stride")
    if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
        raise malformed
    if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
        raise malformed
    if not all(type(n) is int and 0 <= n < 2**63 for n in (offset, *shape, *strides)):
        raise malformed
    return TensorEntry(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, *flags: Any) -> Any:
    return data


def _plain(key: Any) -> Any:
    """A key of plain values: hashing nested tuples of one another would take for ever."""
    if type(key) not in _PLAIN:
        raise UserError("a dictionary has a key that is neither a text nor a number")
    return key


class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if bytes([code]) in _OPERATIONS
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Mapping
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Inert(_rebuild_tensor)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _Inert(_rebuild_parameter)
        if module == "torch" and name in DTYPES:
            return name
        if module.startswith(_SETTINGS_MODULES):
            return _Settings if module.startswith("omegaconf.") else _Inert(_settings)
        if name in _SETTINGS_CLASSES:
            return _Settings
        if module in ("builtins", "__builtin__") and name in _BUILTIN_TYPES:
            return _Inert(_settings)
        raise UserError(
            f"the pickle names {module[:80]}.{name[:80]}, which is not a tensor; nothing of it "
            "was run. Save the state_dict alone and convert that"
        )

    def persistent_load(self, pid: Any) -> Storage:
        if not (isinstance(pid, tuple) and len(pid) == 5):
            raise UserError("a stored object of unknown kind")
        kind, type_name, key, _location, length = pid
        if kind != "storage" or type(type_name) is not str or type_name not in DTYPES:
            named = type_name[:80] if type(type_name) is str else "no name"
            raise UserError(f"a stored object of unknown kind, {named}")
        if type(key) is not str or not key.isalnum() or len(key) > 20:
            raise UserError("a storage with a malformed key")
        if type(length) is not int or not 0 <= length < 2**63:
            raise UserError("a storage with a malformed length")
        return Storage(type_name, key, length)

    def _set_item(self) -> None:
        _plain(self.stack[-2])  # type: ignore[attr-defined]
        pickle._Unpickler.load_setitem(self)  # type: ignore[attr-defined]

    def _set_items(self) -> None:
        for key in self.stack[::2]:  # type: ignore[attr-defined]
            _plain(key)
        pickle._Unpickler.load_setitems(self)  # type: ignore[attr-defined]

    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items


class _Counted(BytesIO):
    """A stream that ends with an error after too many operations, which are read one by one."""

    operations = 0

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        self.operations += 1
        if self.operations > MOST_OPERATIONS:
            raise UserError(f"more than {MOST_OPERATIONS} operations")
        return super().read(size)


def load_inert(content: bytes) -> Any:
    """Return what a pickle holds, with a `TensorEntry` for each tensor.

    Raises:
        UserError: it names or does anything but tensors and plain containers; one line.
    """
    try:
        return _Unpickler(_Counted(content)).load()
    except UserError:
        raise
    except Exception as error:  # a hostile pickle can fail in any way; it is never run
        raise UserError(f"its structure cannot be read ({type(error).__name__})") from None


def view_of(entry: TensorEntry, flat: np.ndarray) -> np.ndarray:
    """Return a tensor as a view of its storage's values.

    Raises:
        UserError: it reaches beyond the storage, or repeats values.
    """
    length = entry.storage.length
    last = sum((n - 1) * s for n, s in zip(entry.shape, entry.strides, strict=True))
    count = prod(entry.shape)
    if count and entry.offset + last >= length:
        raise UserError(
            f"a tensor {list(entry.shape)} reaches beyond its storage of {length} values; the "
            "file is damaged"
        )
    if count > length:
        raise UserError(
            f"a tensor {list(entry.shape)} repeats the values of its storage; save it with "
            ".contiguous()"
        )
    if count == 0:
        check_shape(entry.shape)
        return np.empty(entry.shape, flat.dtype)
    assert flat.size == length
    steps = (s if n > 1 else 0 for n, s in zip(entry.shape, entry.strides, strict=True))
    strides = tuple(s * flat.itemsize for s in steps)
    return np.lib.stride_tricks.as_strided(flat[entry.offset :], entry.shape, strides)
