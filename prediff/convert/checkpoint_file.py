"""Checkpoint files of others, told apart by their content, not by their names."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from hpc.durable_files import replace_file
from hpc.errors import UserError
from prediff.convert.inert_pickle import TensorEntry
from prediff.convert.mindspore_reader import mindspore_entries
from prediff.convert.networks import Network, Weights, network_entries
from prediff.convert.safetensors_reader import safetensors_entries
from prediff.convert.stored_array import check_name, read_arrays
from prediff.convert.torch_reader import TorchFile
from prediff.replaceable import refuse_foreign

T = TypeVar("T")
EXPORTED = {"format": "pt", "producer": "prediff-hpc"}
"""The metadata of our exports, by which they are known again."""

_HOLDERS = ("state_dict", "model_state_dict", "model")
"""Where training scripts keep a state dict beside the optimizer's, the usual place first."""


def read_checkpoint(
    path: Path, *, network: Network | None = None, weights: Weights = "raw"
) -> dict[str, np.ndarray]:
    """Read one network's weights under the names of the official PyTorch files.

    Args:
        path: a PyTorch zip file (an official ``.pt`` or a training checkpoint), a MindSpore
            ``.ckpt``, or a safetensors file with reference names.
        network: which network is wanted; None takes the file's main one.
        weights: ``"raw"``, or ``"ema"`` for the moving averages of a training checkpoint.

    Raises:
        UserError: missing, damaged or foreign file, or not the wanted network; one line.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if head[8:9] == b"{":
        return read_arrays(path, _at(path, safetensors_entries(path), network, weights))
    if head.startswith(b"PK"):
        return _read_torch(path, network, weights)
    if head[:1] == b"\x80":
        raise UserError(
            f"{path}: PyTorch's old format (before 1.6) or a bare pickle, which is not read; "
            "save it again with a current PyTorch"
        )
    return read_arrays(path, _at(path, mindspore_entries(path), network, weights))


def write_checkpoint(path: Path, state: Mapping[str, np.ndarray]) -> None:
    """Write a state dict with reference names as safetensors, whatever the file's ending.

    ``safetensors.torch.load_file`` gives it back as a state dict for the reference code. An older
    export is replaced, and only by a whole file.

    Raises:
        UserError: another file is there, or the folder is missing, full or not writable.
    """
    path = Path(path)
    refuse_foreign(path, is_ours=_is_export)
    arrays = {name: np.ascontiguousarray(array) for name, array in state.items()}
    try:
        with replace_file(path) as aside:
            save_file(arrays, aside, metadata=EXPORTED)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be written ({error})") from None


def _read_torch(path: Path, network: Network | None, weights: Weights) -> dict[str, np.ndarray]:
    with TorchFile(path) as file:
        content = file.content
        if not isinstance(content, dict):
            raise UserError(f"{path}: holds a {type(content).__name__}, not a state dict")
        content = next((content[k] for k in _HOLDERS if isinstance(content.get(k), dict)), content)
        tensors: dict[str, TensorEntry] = {
            name: entry
            for name, entry in content.items()
            if isinstance(name, str) and isinstance(entry, TensorEntry)
        }
        return file.arrays(_at(path, tensors, network, weights))


def _is_export(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(4096)
    return all(f'"{key}":"{value}"'.encode() in head for key, value in EXPORTED.items())


def _at(
    path: Path, entries: Mapping[str, T], network: Network | None, weights: Weights
) -> dict[str, T]:
    try:
        for name in entries:
            check_name(name)
        return network_entries(entries, network=network, weights=weights)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
