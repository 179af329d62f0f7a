"""Reference weights by their rule, and the reference inputs and outputs of the denoiser's parts."""

import json
from functools import cache
from pathlib import Path
from zlib import crc32

import mindspore as ms
import numpy as np

from prediff.convert.denoiser_names import denoiser_reference_name

DATA = Path(__file__).parents[1] / "data"

SMALL = {"height": 16, "width": 16, "latent_channels": 8, "base_width": 32, "num_heads": 4}
SMALL_UNET = {**SMALL, "context_length": 4, "forecast_length": 3, "depths": [2, 2]}
SMALL_ALIGNMENT = {**SMALL, "forecast_length": 3, "depths": [1, 1]}


@cache
def reference():
    """Shapes of the reference's weights, patterns, gradient norms."""
    return json.loads((DATA / "denoiser_reference.json").read_text())


@cache
def small():
    """Inputs and outputs of the small networks."""
    with np.load(DATA / "denoiser_small.npz") as file:
        return dict(file)


@cache
def layer_arrays():
    """Inputs and outputs of single layers; most share one input."""
    with np.load(DATA / "denoiser_layers.npz") as file:
        return dict(file)


def layer_input(name):
    shared = np.random.RandomState(1).standard_normal((2, 6, 8, 8, 16)).astype(np.float32)
    return layer_arrays().get(f"{name}/in0", shared)


def reference_weight(key, shape):
    """The value that the reference run gave the parameter `key` (prefix included)."""
    g = np.random.RandomState(crc32(key.encode())).standard_normal(shape)
    if key.endswith(("relative_position_bias_table", "_embed.weight")):
        g = 0.2 * g
    elif key.endswith("positional_embedding"):
        g = g / np.sqrt(shape[0])
    elif len(shape) >= 2:
        g = g / np.sqrt(np.prod(shape[1:]))
    elif key.endswith("weight"):
        g = 1 + 0.1 * g
    else:
        g = 0.1 * g
    return g.astype(np.float32)


def set_reference_weights(cell, *, prefix, shapes, rename=denoiser_reference_name):
    """Fill every parameter of `cell`; all floating names of the reference must be used."""
    unused = {name for name in shapes if not name.endswith("relative_position_index")}
    for name, parameter in cell.parameters_and_names():
        key = rename(name)
        unused.remove(key)
        value = reference_weight(f"{prefix}.{key}", shapes[key])
        parameter.set_data(ms.Tensor(value.reshape(parameter.shape)))
    assert not unused, unused
    return cell
