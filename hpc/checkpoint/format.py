"""One checkpoint: a folder that exists if and only if it is whole.

    step_00001234/
      model.safetensors  ema.safetensors  optimizer.safetensors   arrays by canonical name
      state.json                                                   step, samples seen, scores, ...
      manifest.json                                                size and SHA-256 of each file

It is written by `hpc.durable_files`. Arrays have the names and
shapes of the whole network, so any mesh can read what any other mesh wrote.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hpc.durable_files import open_new, replace_folder
from hpc.errors import UserError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
STATE = "state.json"
SUFFIX = ".safetensors"

_STEP_FOLDER = re.compile(r"step_(\d{8,})")
_DTYPES = {
    "float32": "F32",
    "float64": "F64",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "uint8": "U8",
    "bool": "BOOL",
}


class DamagedCheckpoint(UserError):
    """A checkpoint whose bytes are not those that were written."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds."""

    path: Path
    arrays: dict[str, dict[str, np.ndarray]]
    """By file (``model``, ``ema``, ``optimizer``), then by canonical name."""
    state: dict[str, Any]


def step_folder(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step lies."""
    return folder / f"step_{step:08d}"


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Return ``(step, path)`` of the checkpoints in a folder, oldest first, not yet verified."""
    if not folder.is_dir():
        return []
    found = ((_STEP_FOLDER.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match and path.is_dir())


def write_checkpoint(
    folder: Path,
    *,
    step: int,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    state: Mapping[str, Any],
) -> Path:
    """Write a checkpoint, or nothing at all, and return its path.

    Args:
        folder: of the run's checkpoints; made if missing.
        step: optimizer steps made so far.
        arrays: by file name without suffix, then by canonical name.
        state: anything that JSON can hold; ``step`` is added.

    Raises:
        OSError: the disk is full or gone. What was there before is untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = step_folder(folder, step)
    with replace_folder(final, overwrite=True) as staging:
        files = {}
        for name, group in arrays.items():
            files[name + SUFFIX] = _write_safetensors(staging / (name + SUFFIX), group)
        text = json.dumps({**state, "step": step}, indent=1, sort_keys=True)
        files[STATE] = _write_bytes(staging / STATE, text.encode())
        _write_bytes(staging / MANIFEST, _manifest_bytes(files))
    return final


def verify_checkpoint(path: Path) -> None:
    """Check that a checkpoint's files are all there, with the bytes that were written.

    Raises:
        DamagedCheckpoint: naming the file and what is wrong with it.
    """
    for name, expected in _read_manifest(path).items():
        file = path / name
        if not file.is_file():
            raise DamagedCheckpoint(f"checkpoint {path} lacks {name}: use an older one")
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise DamagedCheckpoint(
                f"checkpoint {path}: {name} has {size} bytes instead of {expected['bytes']}: "
                "use an older one"
            )
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != expected["sha256"]:
                raise DamagedCheckpoint(
                    f"checkpoint {path}: the bytes of {name} have changed since it was written: "
                    "use an older one"
                )


def read_checkpoint(path: Path) -> Checkpoint:
    """Verify a checkpoint and read all of it.

    Raises:
        DamagedCheckpoint: it is not what was written.
    """
    verify_checkpoint(path)
    try:
        arrays = {
            name.removesuffix(SUFFIX): load_file(path / name)
            for name in _read_manifest(path)
            if name.endswith(SUFFIX)
        }
    except (OSError, SafetensorError) as error:
        raise DamagedCheckpoint(f"checkpoint {path} cannot be read: {error}") from error
    return Checkpoint(path=path, arrays=arrays, state=read_state(path))


def read_state(path: Path) -> dict[str, Any]:
    """Return the contents of ``state.json`` without looking at the other files.

    Raises:
        DamagedCheckpoint: it is missing or no JSON object.
    """
    try:
        state = json.loads((path / STATE).read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedCheckpoint(f"checkpoint {path}: {STATE} cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"checkpoint {path}: {STATE} is no JSON object")
    return state


def _write_safetensors(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Stream arrays into a safetensors file, hashing on the way and holding no second copy."""
    header: dict[str, Any] = {}
    start = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with _HashedFile(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return file.entry()


def _write_bytes(path: Path, content: bytes) -> dict[str, Any]:
    with _HashedFile(path) as file:
        file.write(content)
    return file.entry()


class _HashedFile:
    """A new file whose size and SHA-256 are known when it is closed."""

    def __init__(self, path: Path):
        self.stream = open_new(path)
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes | memoryview) -> None:
        view = memoryview(content)
        self.digest.update(view)
        self.size += len(view)
        self.stream.write(view)

    def entry(self) -> dict[str, Any]:
        return {"bytes": self.size, "sha256": self.digest.hexdigest()}

    def __enter__(self) -> "_HashedFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stream.close()


def _manifest_bytes(files: Mapping[str, Any]) -> bytes:
    """Return the one way to write a manifest, so that any other byte in it is damage."""
    body = {"format": FORMAT_VERSION, "files": files}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "sha256": digest}, indent=1, sort_keys=True).encode() + b"\n"


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content = (path / MANIFEST).read_bytes()
        manifest = json.loads(content)
        version, files = manifest["format"], manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(
            f"checkpoint {path}: {MANIFEST} cannot be read ({error}): use an older one"
        ) from error
    if version == FORMAT_VERSION and content == _manifest_bytes(files):
        return files
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise DamagedCheckpoint(
            f"checkpoint {path} has format {version}, this software reads up to {FORMAT_VERSION}: "
            "read it with the software that wrote it"
        )
    raise DamagedCheckpoint(
        f"checkpoint {path}: {MANIFEST} has changed since it was written: use an older one"
    )
