"""Weights of others as the checkpoint of a task, and a task's weights for others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mindspore import nn

from hpc.checkpoint.format import list_checkpoints, write_checkpoint
from hpc.errors import UserError
from hpc.train.step import TrainState
from prediff.config import Config
from prediff.convert import LoadReport, Network, Weights, identify, load_reference, to_reference
from prediff.convert.checkpoint_file import read_checkpoint as read_foreign
from prediff.convert.checkpoint_file import write_checkpoint as write_foreign
from prediff.run_folder import RunFolder, save_run
from prediff.trained_networks import load_alignment, load_autoencoder, load_denoiser
from prediff.training.task import ALIGNMENT, AUTOENCODER, DENOISER, TrainingTask


@dataclass(frozen=True)
class Imported:
    """What became of a file: the report of the mapping and the checkpoint that was made."""

    report: LoadReport
    checkpoint: Path


def import_weights(
    folder: RunFolder,
    config: Config,
    *,
    file: Path,
    network: Network | None = None,
    weights: Weights = "raw",
) -> Imported:
    """Make a file of others the checkpoint of the stage that trains its network.

    The stage counts as done. Its checkpoint is one of step 0 with a fresh optimizer, so that
    `prediff train STAGE --resume CHECKPOINT` trains on from these weights.

    Args:
        folder: of the run.
        config: of the run; its sizes must be those of the file.
        file: see `prediff.convert.read_checkpoint`.
        network: which one of the file; None takes the main one.
        weights: raw, or the moving averages of a training checkpoint.

    Raises:
        UserError: a bad file, another architecture, or a stage that has checkpoints already.
    """
    state = read_foreign(file, network=network, weights=weights)
    network = identify(state)
    task = next(task for task in (AUTOENCODER, DENOISER, ALIGNMENT) if task.network == network)
    saved = folder.checkpoints(task.name)
    if list_checkpoints(saved):
        raise UserError(
            f"{saved} has checkpoints already: choose another --name, or remove the folder"
        )
    scale = {} if network == "autoencoder" else {"latent_scale": _latent_scale(config)}
    try:
        report, trained = _loaded(task, config, state)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    save_run(folder, config)
    groups = {"model": trained.model, "optimizer": trained.optimizer, "ema": trained.ema}
    checkpoint = write_checkpoint(
        saved,
        step=0,
        arrays={name: arrays for name, arrays in groups.items() if arrays},
        state={
            "stage": task.name,
            "samples_seen": 0,
            "scores": {},
            "config": config.model_dump(mode="json"),
            "imported": {"file": file.name, "weights": weights},
            **scale,
        },
    )
    return Imported(report=report, checkpoint=checkpoint)


def export_weights(
    folder: RunFolder, config: Config, *, network: Network, weights: Weights, file: Path
) -> int:
    """Write a trained network with the official names as safetensors; return the tensors.

    Raises:
        UserError: the network is not trained, has no moving average, or the file cannot be written.
    """
    if weights == "ema" and network != "denoiser":
        raise UserError(f"the {network} has no moving average: export its raw weights")
    cell: nn.Cell
    if network == "denoiser":
        cell, _ = load_denoiser(folder, config, weights=weights)
    elif network == "alignment":
        cell, _ = load_alignment(folder, config)
    else:
        cell = load_autoencoder(folder, config)
    state = to_reference(cell)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_foreign(file, state)
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror or error})") from None
    return len(state)


def _latent_scale(config: Config) -> float:
    scale = config.diffusion.latent_scale
    if scale == "unit_variance":
        raise UserError(
            "imported weights know latents of one fixed scale: set diffusion.latent_scale "
            "(the published networks were trained with 1)"
        )
    return float(scale)


def _loaded(
    task: TrainingTask, config: Config, weights: Mapping[str, np.ndarray]
) -> tuple[LoadReport, TrainState]:
    """Return what was mapped, and the state of the task's step with these weights."""
    trained = task.recipe().build(config)
    report = load_reference(trained.network, weights)
    state = trained.step.export()
    return report, replace(state, ema={name: state.model[name] for name in state.ema})
