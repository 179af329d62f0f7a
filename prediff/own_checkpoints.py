"""The checkpoints of a run's task that this task of this run has made.

A folder step_99999999 that somebody put there is not taken for the newest: what a checkpoint says
of itself (task, seed, settings) must be what the run says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpc.checkpoint.format import DamagedCheckpoint, list_checkpoints, read_state
from hpc.checkpoint.store import find_latest
from prediff.config import load_config
from prediff.run_folder import CHANGEABLE_KEYS, RunFolder

SECTIONS = {
    "autoencoder": ("autoencoder",),
    "diffusion": ("autoencoder", "denoiser", "diffusion", "one_pass"),
    "alignment": ("autoencoder", "diffusion", "alignment"),
}
"""What a task's weights depend on, beside seed, data and its own training: an autoencoder may be
copied from a run to one with another denoiser."""

PLACES = ("data.root",)
"""Keys that say where something lies, not what it is: a run may be moved."""


def newest_own(folder: RunFolder, stage: str) -> Path | None:
    """Return the newest checkpoint of a task that verifies, or None when there is none at all.

    Others are passed over with one line in the log each, which says what they are.

    Raises:
        UserError: there are checkpoints, and none is whole and of this run.
    """
    reference = _settings_of_run(folder, stage)

    def foreign(state: Mapping[str, Any]) -> str | None:
        named = state.get("stage", stage)
        if named != stage:
            return f"it is of the task {str(named)[:40]!r}"
        theirs = state.get("config", {})
        differing = [
            text
            for key in ("seed", "data", *SECTIONS[stage], f"train_{stage}")
            if key in reference and key in theirs
            for text in _differences(key, reference[key], theirs[key])
        ]
        return f"it is of another run, {differing[0]}" if differing else None

    return find_latest(folder.checkpoints(stage), foreign=foreign)


def _settings_of_run(folder: RunFolder, stage: str) -> dict[str, Any]:
    if folder.config.exists():
        return load_config(folder.config).model_dump(mode="json")
    for _, path in list_checkpoints(folder.checkpoints(stage)):
        try:
            state = read_state(path)
        except DamagedCheckpoint:
            continue
        if state.get("stage") == stage and isinstance(state.get("config"), dict):
            return state["config"]
    return {}


def _differences(name: str, ours: Any, theirs: Any) -> list[str]:
    """Return what differs among the frozen settings that both know."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            text
            for key in ours
            if key in theirs and key not in CHANGEABLE_KEYS
            for text in _differences(f"{name}.{key}", ours[key], theirs[key])
        ]
    if ours == theirs or name in PLACES:
        return []
    return [f"{name} {str(theirs)[:60]} instead of {str(ours)[:60]}"]
