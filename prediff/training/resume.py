"""Where a training stage begins: its newest checkpoint, a named one, or the first step."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hpc.checkpoint.format import read_checkpoint, read_state
from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.data.order import SampleOrder
from hpc.train.health import Health
from hpc.train.step import TrainState
from prediff.config import Config
from prediff.own_checkpoints import newest_own
from prediff.run_folder import RunFolder
from prediff.training.adversarial_step import AnyStep

AUTO = "auto"
NONE = "none"
PACKAGES = ("prediff-hpc", "mindspore", "numpy")


def is_restarted(folder: RunFolder, stage: str) -> bool:
    """Return whether the user chose where this stage begins, so that it runs even if it was done.

    Raises:
        UserError: there is no checkpoint at the path that was given.
    """
    if folder.resume in (AUTO, NONE):
        return folder.resume == NONE
    return read_state(Path(folder.resume)).get("stage") == stage


def starting_point(folder: RunFolder, stage: str) -> Path | None:
    """Return the checkpoint that a stage goes on from, or None for a new start.

    Raises:
        UserError: no checkpoint of this folder is whole, or there is none at the path given.
    """
    if not is_restarted(folder, stage):
        return newest_own(folder, stage)
    return None if folder.resume == NONE else Path(folder.resume)


def restore(
    stage: str,
    folder: RunFolder,
    runtime: Runtime,
    order: SampleOrder,
    *,
    step: AnyStep,
    health: Health,
) -> int:
    """Load the starting point on every rank; return the number of the next batch.

    Raises:
        UserError: the checkpoint is damaged or of another batch size.
    """
    chosen = starting_point(folder, stage) if runtime.is_first else None
    found = runtime.broadcast_object(chosen and str(chosen))
    if found is None:
        return 0
    checkpoint = read_checkpoint(Path(found))
    arrays = checkpoint.arrays
    step.load(
        TrainState(model=arrays["model"], optimizer=arrays["optimizer"], ema=arrays.get("ema", {}))
    )
    if "health" in checkpoint.state:  # weights from elsewhere have none
        health.load(checkpoint.state["health"])
    return order.batch_at(checkpoint.state["samples_seen"])


def software() -> dict[str, str]:
    """Return the versions that decide what a run computes."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def training_state(stage: str, config: Config, runtime: Runtime, mesh: Mesh) -> dict[str, Any]:
    """Return what a checkpoint says of the run that made it."""
    return {
        "stage": stage,
        "config": config.model_dump(mode="json"),
        "mesh": {"data": mesh.data, "pipeline": mesh.pipeline},
        "device": runtime.device_name,
        "versions": software(),
    }
