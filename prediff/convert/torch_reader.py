"""Tensors of a PyTorch ``.pt``/``.ckpt`` file, read without PyTorch and without running its pickle.

The file is a zip: ``NAME/data.pkl`` holds the structure, ``NAME/data/KEY`` the bytes of each
storage.
"""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hpc.errors import UserError
from prediff.convert.inert_pickle import TensorEntry, load_inert, view_of
from prediff.convert.stored_array import BFLOAT16, MOST_ARRAYS, check_total, widened

LARGEST_STRUCTURE = 64_000_000
"""Bytes of the pickle; a training checkpoint of the published network has half a million."""
_DIRECTORY_ENTRY = 500
"""Bytes that a zip file's list of files has for each of them, at most."""


class TorchFile:
    """An open PyTorch file. ``content`` is its structure with ``TensorEntry`` for each tensor.

    Raises:
        UserError: not a zip written by PyTorch, truncated, big-endian, or naming anything but
            tensors and plain containers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = path.stat().st_size
            _check_directory(path)
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file") from None
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, struct.error) as error:
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

    def arrays(self, entries: Mapping[str, TensorEntry]) -> dict[str, np.ndarray]:
        """Read tensors by name.

        Raises:
            UserError: they do not fit their storages, or need more memory than their file could
                account for.
        """
        try:
            sizes = ((entry.storage.dtype, entry.shape) for entry in entries.values())
            check_total(sizes, file_bytes=self._bytes)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None
        return {name: self.array(entry) for name, entry in entries.items()}

    def array(self, entry: TensorEntry) -> np.ndarray:
        """Read one tensor; bfloat16 becomes float32, everything else keeps its type.

        Raises:
            UserError: it does not fit its storage, or the storage is damaged.
        """
        storage = entry.storage
        name = f"{self._root}/data/{storage.key}"
        data = self._read(name, storage.bytes)
        dtype = np.dtype("<u2" if storage.dtype == BFLOAT16 else storage.dtype).newbyteorder("<")
        try:
            view = view_of(entry, np.frombuffer(data, dtype))
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None
        return widened(view) if storage.dtype == BFLOAT16 else np.array(view, order="C")

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
        try:
            return load_inert(self._read(f"{self._root}/data.pkl", None))
        except UserError as error:
            prefix = "" if str(error).startswith(str(self.path)) else f"{self.path}: "
            raise UserError(f"{prefix}{error}") from None

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
            if info.file_size > (self._bytes if size is not None else LARGEST_STRUCTURE):
                raise UserError(
                    f"{self.path}: {name} has {info.file_size} bytes, more than is read here"
                )
            return self._zip.read(info)
        except UserError:
            raise
        except KeyError:
            raise UserError(f"{self.path}: {name} is not in it; copy it again") from None
        except (
            zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError, OverflowError,
            struct.error,
        ) as error:  # fmt: skip
            raise UserError(
                f"{self.path}: {name} cannot be read ({error}); copy it again"
            ) from None


def _check_directory(path: Path) -> None:
    """Refuse a list of files that takes much more memory than the file on the disk."""
    with path.open("rb") as stream:
        end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
    size, count = (end[5], end[4]) if end else (0, 0)
    if count > MOST_ARRAYS or size > MOST_ARRAYS * _DIRECTORY_ENTRY:
        raise zipfile.BadZipFile(f"a list of {count} files in {size} bytes")
