"""How each of our networks' parameters is called and shaped in the official checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Parameter, nn

from hpc.errors import UserError
from hpc.ops.cuboid_attention.geometry import relative_position_index
from prediff.convert.autoencoder_names import autoencoder_reference_name
from prediff.convert.denoiser_names import denoiser_reference_name
from prediff.convert.networks import INDEX_BUFFER, Network
from prediff.models.alignment_network import AlignmentNetwork
from prediff.models.autoencoder import Autoencoder
from prediff.models.cuboid import CuboidSelfAttention
from prediff.models.earthformer_unet import EarthformerUNet

_TABLE = "relative_position_bias_table"
_NETWORKS: tuple[tuple[type[nn.Cell], Network, Callable[[str], str]], ...] = (
    (Autoencoder, "autoencoder", autoencoder_reference_name),
    (EarthformerUNet, "denoiser", denoiser_reference_name),
    (AlignmentNetwork, "alignment", denoiser_reference_name),
)


@dataclass(frozen=True)
class Entry:
    """One of our parameters; its layer says how the reference lays the array out."""

    name: str
    parameter: Parameter
    layer: nn.Cell

    @property
    def reference_shape(self) -> tuple[int, ...]:
        return self._laid_out("parameter_to_reference", np.empty(self.parameter.shape)).shape

    def from_reference(self, array: np.ndarray) -> np.ndarray:
        return self._laid_out("reference_to_parameter", array)

    def to_reference(self) -> np.ndarray:
        return self._laid_out("parameter_to_reference", self.parameter.asnumpy())

    def _laid_out(self, method: str, array: np.ndarray) -> np.ndarray:
        if self.name.endswith(".weight") and hasattr(self.layer, method):
            return getattr(self.layer, method)(array)
        return array


def network_of(cell: nn.Cell) -> Network | None:
    """Tell which of the reference's networks a Cell is; None for a single attention layer.

    Raises:
        UserError: neither.
    """
    return _kind(cell)[0]


def reference_entries(cell: nn.Cell) -> dict[str, Entry]:
    """Return every parameter of a network under its reference name."""
    _, translate = _kind(cell)
    layers = dict(cell.cells_and_names())
    entries: dict[str, Entry] = {}
    for name, parameter in cell.parameters_and_names():
        reference = translate(name)
        assert reference not in entries, reference
        entries[reference] = Entry(name, parameter, layers[name.rpartition(".")[0]])
    return entries


def index_buffers(cell: nn.Cell) -> dict[str, np.ndarray]:
    """Return the constant index matrices that the reference keeps beside its bias tables."""
    _, translate = _kind(cell)
    buffers: dict[str, np.ndarray] = {}
    for path, layer in cell.cells_and_names():
        if isinstance(layer, CuboidSelfAttention) and layer.use_relative_pos:
            ours = f"{path}.relative_bias".removeprefix(".")
            name = translate(ours).replace(_TABLE, INDEX_BUFFER)
            size: Any = layer.cuboid["cuboid_size"]
            buffers[name] = relative_position_index(size).astype(np.int64)
    return buffers


def _kind(cell: nn.Cell) -> tuple[Network | None, Callable[[str], str]]:
    for kind, network, translate in _NETWORKS:
        if isinstance(cell, kind):
            return network, translate
    if isinstance(cell, CuboidSelfAttention):
        return None, denoiser_reference_name
    raise UserError(
        f"{type(cell).__name__} is neither one of PreDiff's three networks nor its attention layer"
    )
