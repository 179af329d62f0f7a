"""How each of our networks' parameters is called and shaped in the official checkpoints."""

from dataclasses import dataclass

import numpy as np
from mindspore import Parameter, nn

from prediff.convert.autoencoder_names import autoencoder_reference_name
from prediff.convert.networks import Network
from prediff.models.autoencoder import Autoencoder


@dataclass(frozen=True)
class Entry:
    """One of our parameters and the shape that the reference gives it."""

    name: str
    parameter: Parameter
    reference_shape: tuple[int, ...]


def network_of(cell: nn.Cell) -> Network:
    assert isinstance(cell, Autoencoder), type(cell)
    return "autoencoder"


def reference_entries(cell: nn.Cell) -> dict[str, Entry]:
    """Return every parameter of a network under its reference name."""
    entries: dict[str, Entry] = {}
    for name, parameter in cell.parameters_and_names():
        reference = autoencoder_reference_name(name)
        assert reference not in entries, reference
        entries[reference] = Entry(name, parameter, tuple(parameter.shape))
    return entries


def index_buffers(cell: nn.Cell) -> dict[str, np.ndarray]:
    return {}
