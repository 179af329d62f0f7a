"""Exporting a run's networks to a folder, and importing such a folder as a run.

The folder has the layout of a run, so that every command and the Python API take it as it is, but
holds only what forecasts need: no optimizer, no data, no latents.
"""

import shutil
from pathlib import Path

from hpc.checkpoint.format import read_checkpoint, write_checkpoint
from hpc.checkpoint.seal import SEAL, seal_folder, verify_folder
from hpc.checkpoint.signature import sign, verify
from hpc.durable_files import move_durably, replace_folder, storage_errors_as_advice
from hpc.errors import UserError
from prediff.config import Config, save_config
from prediff.exchange.card import CARD, model_card, model_facts
from prediff.run_folder import RUNS, RunFolder
from prediff.trained_networks import (
    ALIGNMENT,
    AUTOENCODER,
    DIFFUSION,
    newest_checkpoint,
    weights_group,
)

_NOT_FOR_OTHERS = ("health", "speed", "config", "mesh", "device")
"""Of a checkpoint's state: what concerns its training alone, or names places of its host."""


def export_model(folder: RunFolder, config: Config, *, out: Path, key: Path | None = None) -> Path:
    """Write the networks that the run's forecasts use, with card and seal; all of it or nothing.

    Args:
        key: an SSH key that signs the seal, and so every byte.

    Raises:
        UserError: a network is not trained, the folder is there already or cannot be written, or
            the key cannot sign.
    """
    if out.exists():
        raise UserError(f"{out} is there already: remove it, or name another folder with --out")
    stages = [DIFFUSION] if config.is_one_pass else [AUTOENCODER, DIFFUSION]
    stages += [ALIGNMENT] if config.is_guided else []
    checkpoints = {stage: read_checkpoint(newest_checkpoint(folder, stage)) for stage in stages}
    group = weights_group(config.forecast.weights)
    if group not in checkpoints[DIFFUSION].arrays:
        raise UserError(
            f"{checkpoints[DIFFUSION].path} holds no {config.forecast.weights} weights: add "
            "--set forecast.weights=raw"
        )
    facts = model_facts(folder, config, state=checkpoints[DIFFUSION].state)
    with storage_errors_as_advice(out), replace_folder(out) as aside:
        for stage, checkpoint in checkpoints.items():
            wanted = group if stage == DIFFUSION else "model"
            state = {k: v for k, v in checkpoint.state.items() if k not in _NOT_FOR_OTHERS}
            write_checkpoint(
                RunFolder(aside).checkpoints(stage),
                step=checkpoint.state["step"],
                arrays={wanted: checkpoint.arrays[wanted]},
                state=state | {"imported": {"file": f"export of run {folder.name}"}},
            )
        own = config.data.model_copy(update={"root": None})
        save_config(config.model_copy(update={"data": own}), aside / "config.yaml")
        (aside / CARD).write_text(model_card(folder, facts), encoding="utf-8")
        seal_folder(aside, facts=facts)
        if key is not None:
            sign(aside / SEAL, key=key)
    return out


def import_model(source: Path, *, name: str, signers: Path | None = None) -> RunFolder:
    """Make an exported folder a run, after reading every byte of it.

    Args:
        signers: list of trusted keys; the model must be signed by one of them.

    Raises:
        UserError: it is no export, a byte of it was changed, nobody of the list signed it, or
            there is a run of that name.
    """
    if not (source / SEAL).is_file():
        raise UserError(f"{source} is no exported model: it has no {SEAL}")
    verify_folder(source)
    if signers is not None:
        verify(source / SEAL, signers=signers)
    target = RUNS / name
    if target.exists():
        raise UserError(f"{target} is there already: choose another --name")
    RUNS.mkdir(exist_ok=True)
    with storage_errors_as_advice(target), replace_folder(target) as aside:
        shutil.copytree(source, aside, dirs_exist_ok=True)
        verify_folder(aside)
        if signers is not None:  # what was copied, should it have changed meanwhile
            verify(aside / SEAL, signers=signers)
        # A run changes; the seal is of the model as it came.
        move_durably(aside / SEAL, aside / f"imported_{SEAL}")
    return RunFolder(target)
