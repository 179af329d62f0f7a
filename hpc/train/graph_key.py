"""A key for a Cell's compiled graph: equal keys, equal graphs.

MindSpore's compile cache finds a graph by its number in the process and by the source files. It
does not see constants: a Cell with another weight decay, or compiled in another order, silently
gets the old graph (seen with 2.8.0). So everything that is compiled in goes into this key: the
Cell tree with its numbers, tables and primitives, the parameters' names and shapes, the inputs'
shapes, the source code and the versions.
"""

import dataclasses
import enum
import hashlib
import platform
import types
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

_OWN = ("_cells", "_params", "_primitives", "_buffers", "training")
"""What a bare Cell keeps that belongs to the network; the rest of it is bookkeeping."""
_OF_COMPILING = ("current_phase", "sequence_modified", "__parse_method__", "__compile_cell_hook__")
"""What a Cell has more once it was compiled by itself; the first holds a time."""
_BOOKKEEPING = frozenset((*vars(nn.Cell()), *_OF_COMPILING)) - frozenset(_OWN)


class UnknownConstant(Exception):
    """A Cell holds an object whose influence on the graph cannot be told."""


def graph_key(cell: nn.Cell, inputs: Iterable[Tensor], *, packages: Iterable[Path]) -> str:
    """Return 64 hexadecimal digits that stand for the graph.

    Args:
        cell: what is compiled.
        inputs: of its shapes and dtypes, not its values.
        packages: folders whose files are the source code.

    Raises:
        UnknownConstant: names the attribute that cannot be told.
    """
    key = _Key()
    key.put("versions", ms.__version__, np.__version__, platform.python_version())
    key.put("device", ms.get_context("device_target"), ms.get_context("mode"))
    for package in packages:
        for path in sorted(p for p in package.rglob("*") if p.is_file()):
            if "__pycache__" not in path.parts:
                key.put("source", path.relative_to(package))
                key.digest.update(hashlib.sha256(path.read_bytes()).digest())
    for tensor in inputs:
        key.put("input", tensor.shape, str(tensor.dtype))
    key.put("cell", cell)
    return key.digest.hexdigest()


class _Key:
    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []
        self.path: list[str] = []

    def put(self, label: str, *values: Any) -> None:
        self.path.append(label)
        self._text(label)
        for value in values:
            self._value(value)
        self.path.pop()

    def _text(self, text: str) -> None:
        self.digest.update(f"{len(text)}:{text};".encode())

    def _value(self, value: Any) -> None:
        if value is None or isinstance(
            value, bool | int | float | complex | str | bytes | PurePath
        ):
            self._text(f"{type(value).__name__} {value!r}")
        elif isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
            self._text(f"{getattr(value, '__module__', '')}.{value.__name__}")
        elif isinstance(value, np.generic | np.dtype | enum.Enum):
            self._text(repr(value))
        elif id(value) in self.seen:
            self._text(f"same as {self.seen[id(value)]}")
        else:
            self.seen[id(value)] = len(self.seen)
            self.kept.append(value)
            self._object(value)

    def _object(self, value: Any) -> None:
        self._text(f"{type(value).__module__}.{type(value).__qualname__}")
        if isinstance(value, Parameter):
            self.put("parameter", value.name, tuple(value.shape), str(value.dtype))
            self.put("requires_grad", value.requires_grad)
        elif isinstance(value, np.ndarray | Tensor):
            array = np.ascontiguousarray(
                value if isinstance(value, np.ndarray) else value.asnumpy()
            )
            self._text(f"{array.dtype} {value.shape}")
            self.digest.update(hashlib.sha256(array.reshape(-1).view(np.uint8).data).digest())
        elif isinstance(value, nn.Cell):
            own = {k: v for k, v in vars(value).items() if k not in _BOOKKEEPING}
            if not own.get("_func_graph_flags"):  # compiling adds it, empty
                own.pop("_func_graph_flags", None)
            self._mapping(own)
        elif isinstance(value, list | tuple):
            for number, item in enumerate(value):
                self.put(str(number), item)
        elif isinstance(value, set | frozenset):
            self._text(repr(sorted(value, key=repr)))
        elif isinstance(value, Mapping):
            self._mapping(value)
        elif dataclasses.is_dataclass(value):
            self._mapping({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
        elif isinstance(value, types.FunctionType):
            self.put("function", value.__module__, value.__qualname__, value.__defaults__)
            ours = not value.__module__.startswith("mindspore.")
            for number, cell in enumerate(value.__closure__ or ()):
                # MindSpore's own closures number themselves by the clock.
                if ours or not isinstance(cell.cell_contents, int):
                    self.put(f"closure {number}", cell.cell_contents)
        elif isinstance(value, types.MethodType):
            self.put("method", value.__func__, value.__self__)
        elif hasattr(value, "__dict__"):
            self._mapping(vars(value))
        elif str(value) in dir(ms.common.dtype) or type(value).__module__.endswith("typing"):
            self._text(str(value))
        else:
            raise UnknownConstant(f"{'.'.join(self.path)}: {type(value).__qualname__}")

    def _mapping(self, items: Mapping[Any, Any]) -> None:
        for name, item in items.items():
            self.put(str(name), item)
