"""The trained networks of a run, as later stages use them; each error names the missing command."""

import hashlib
import json
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.checkpoint.format import Checkpoint, read_checkpoint
from hpc.errors import UserError
from prediff.config import Config
from prediff.models import build_alignment, build_autoencoder, build_denoiser, build_one_pass
from prediff.models.alignment_network import AlignmentNetwork
from prediff.models.autoencoder import Autoencoder
from prediff.models.one_pass_unet import OnePassUNet
from prediff.own_checkpoints import newest_own
from prediff.run_folder import ALIGNMENT, AUTOENCODER, DIFFUSION, RunFolder


def newest_checkpoint(folder: RunFolder, stage: str) -> Path:
    """Return a stage's newest checkpoint that verifies.

    Raises:
        UserError: there is none; the line names the command that makes it.
    """
    found = newest_own(folder, stage)
    if found is None:
        raise UserError(
            f"run {folder.name} has no trained {stage}: "
            f"run `prediff train {stage} --name {folder.name}` first"
        )
    return found


def weights_sha256(checkpoint: Path, group: str) -> str:
    """Return the SHA-256 of the file with a checkpoint's weights, ``model`` or ``ema``."""
    with (checkpoint / f"{group}.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def autoencoder_sha256(folder: RunFolder) -> str:
    """Return the SHA-256 of the file with the autoencoder's weights."""
    return weights_sha256(newest_checkpoint(folder, AUTOENCODER), "model")


def config_sha256(config: Config) -> str:
    """Return the SHA-256 of a resolved configuration, whatever file it came from."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_autoencoder(folder: RunFolder, config: Config) -> Autoencoder:
    """Return the run's trained autoencoder, in evaluation mode."""
    autoencoder = build_autoencoder(config)
    checkpoint = read_checkpoint(newest_checkpoint(folder, AUTOENCODER))
    set_weights(autoencoder, checkpoint.arrays["model"], prefix="")
    autoencoder.set_train(False)
    return autoencoder


def load_denoiser(folder: RunFolder, config: Config, *, weights: str) -> tuple[nn.Cell, Checkpoint]:
    """Return the run's trained denoiser in evaluation mode, and its checkpoint.

    Args:
        weights: ``ema`` or ``raw``.

    Raises:
        UserError: no checkpoint, or one without a moving average where `ema` is asked for.
    """
    checkpoint, arrays = _trained_weights(folder, weights)
    denoiser = build_denoiser(config)
    set_weights(denoiser, arrays, prefix="denoiser.")
    denoiser.set_train(False)
    return denoiser, checkpoint


def load_one_pass(
    folder: RunFolder, config: Config, *, weights: str
) -> tuple[OnePassUNet, Checkpoint]:
    """Return the run's trained one-pass network in evaluation mode, and its checkpoint.

    Args:
        weights: ``ema`` or ``raw``.

    Raises:
        UserError: no checkpoint, or one without a moving average where `ema` is asked for.
    """
    checkpoint, arrays = _trained_weights(folder, weights)
    network = build_one_pass(config)
    set_weights(network, arrays, prefix="network.")
    network.set_train(False)
    return network, checkpoint


def _trained_weights(folder: RunFolder, weights: str) -> tuple[Checkpoint, dict[str, np.ndarray]]:
    checkpoint = read_checkpoint(newest_checkpoint(folder, DIFFUSION))
    group = weights_group(weights)
    if group not in checkpoint.arrays:
        raise UserError(f"{checkpoint.path} holds no {weights} weights: set forecast.weights=raw")
    return checkpoint, checkpoint.arrays[group]


def load_alignment(folder: RunFolder, config: Config) -> tuple[AlignmentNetwork, Checkpoint]:
    """Return the run's trained alignment network in evaluation mode, and its checkpoint."""
    checkpoint = read_checkpoint(newest_checkpoint(folder, ALIGNMENT))
    alignment = build_alignment(config)
    set_weights(alignment, checkpoint.arrays["model"], prefix="")
    alignment.set_train(False)
    return alignment, checkpoint


def weights_group(weights: str) -> str:
    """Return the checkpoint's file of the weights ``ema`` or ``raw``."""
    return "ema" if weights == "ema" else "model"


def set_weights(cell: nn.Cell, arrays: dict[str, np.ndarray], *, prefix: str) -> None:
    """Set all parameters of a Cell from arrays that are named after them, with a prefix.

    Raises:
        UserError: the arrays are those of another architecture.
    """
    parameters = dict(cell.parameters_and_names())
    missing = [name for name in parameters if prefix + name not in arrays]
    other = [
        name
        for name, parameter in parameters.items()
        if name not in missing and arrays[prefix + name].shape != parameter.shape
    ]
    if missing or other:
        raise UserError(
            f"the weights are of another architecture: {len(missing)} are missing and "
            f"{len(other)} have another shape, first {(missing + other)[0]}"
        )
    for name, parameter in parameters.items():
        parameter.set_data(ms.Tensor(arrays[prefix + name]))
