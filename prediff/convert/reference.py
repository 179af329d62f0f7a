"""Weights of the reference in and out of our Cells, strictly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.errors import UserError
from prediff.convert.networks import INDEX_BUFFER, TITLES, Network, require_network
from prediff.convert.parameter_names import index_buffers, network_of, reference_entries

_SHOWN = 10


@dataclass(frozen=True)
class LoadReport:
    """What `load_reference` did: our parameter of each reference name, and what it left out."""

    network: Network | None
    mapped: dict[str, str]
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{_title(self.network)}: {len(self.mapped)} weights loaded"
        if self.ignored:
            text += f", {len(self.ignored)} constant {INDEX_BUFFER} buffers ignored"
        return text


def load_reference(cell: nn.Cell, state_dict: Mapping[str, np.ndarray]) -> LoadReport:
    """Load weights with reference names into one of our networks, all of them or none.

    Args:
        cell: an `Autoencoder`, `EarthformerUNet` or `AlignmentNetwork`, or a single
            `CuboidSelfAttention`.
        state_dict: arrays under the names of the official checkpoints; floating values become
            float32. Buffers named ``relative_position_index`` are accepted and ignored.

    Raises:
        UserError: another network; missing or unexpected names; wrong shapes; values that are
            not finite numbers. One line lists the first ten of each.
    """
    network = network_of(cell)
    if network is not None:
        require_network(state_dict, network)
    entries = reference_entries(cell)
    buffers = set(index_buffers(cell))
    faults: dict[str, list[str]] = {
        "missing": sorted(set(entries) - set(state_dict)),
        "unexpected": sorted(set(state_dict) - set(entries) - buffers),
        "wrong shape": [],
        "not finite numbers": [],
    }
    loaded: dict[str, np.ndarray] = {}
    for name, entry in entries.items():
        if name not in state_dict:
            continue
        array = np.asarray(state_dict[name])
        if array.shape != entry.reference_shape:
            expected, found = list(entry.reference_shape), list(array.shape)
            faults["wrong shape"].append(f"{name} {found} instead of {expected}")
        elif not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            faults["not finite numbers"].append(name)
        else:
            loaded[name] = np.ascontiguousarray(entry.from_reference(array), np.float32)
    if any(faults.values()):
        raise UserError(f"cannot load {_title(network)}: {_listing(faults)}")
    for name, array in loaded.items():
        entries[name].parameter.set_data(ms.Tensor(array))
    return LoadReport(
        network=network,
        mapped={name: entry.name for name, entry in entries.items()},
        ignored=tuple(sorted(buffers & set(state_dict))),
    )


def to_reference(cell: nn.Cell) -> dict[str, np.ndarray]:
    """Return a network's weights under the official names, with the constant index buffers.

    The reference code loads it as a state dict, strictly.
    """
    weights = {name: entry.to_reference() for name, entry in reference_entries(cell).items()}
    return {**weights, **index_buffers(cell)}


def _title(network: Network | None) -> str:
    return "the attention layer" if network is None else TITLES[network]


def _listing(faults: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for fault, names in faults.items():
        if names:
            more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            parts.append(f"{len(names)} {fault}: {', '.join(names[:_SHOWN])}{more}")
    return "; ".join(parts)
