"""How far a run is, read from its files without starting MindSpore or hashing weights."""

import json
from dataclasses import dataclass
from pathlib import Path

from hpc.checkpoint.format import list_checkpoints, read_state
from hpc.checkpoint.store import find_best
from hpc.errors import UserError
from prediff.config import Config
from prediff.data.open_data import data_root, open_split
from prediff.latents.layout import list_groups
from prediff.latents.verify import describe_group
from prediff.run_folder import AUTOENCODER, TRAININGS, RunFolder
from prediff.training.task import TrainingTask, is_trained, training_task


@dataclass(frozen=True)
class StageStatus:
    """One stage of a run as its files show it.

    Attributes:
        name: of the stage.
        is_done: whether there is nothing left to do, as far as can be told without reading all.
        progress: such as ``step 120 of 400``.
        best: the best score and where it is, empty if there is none.
        newest: the newest checkpoint, if the stage has checkpoints.
        speed: when it was saved, empty if unknown.
        command: what does this stage.
    """

    name: str
    is_done: bool
    progress: str
    command: str
    best: str = ""
    newest: Path | None = None
    speed: str = ""


def run_status(folder: RunFolder, config: Config) -> list[StageStatus]:
    """Return the status of every stage that the configuration wants, in order.

    Checkpoints are not verified, nor is it checked that forecasts are of the newest weights;
    `prediff run` does both.
    """
    stages = [_data(folder, config)]
    for name in TRAININGS:
        task = training_task(name, config)
        if task.is_wanted(config) or list_checkpoints(folder.checkpoints(name)):
            stages.append(_training(folder, config, task))
        if name == AUTOENCODER and not config.is_one_pass:
            stages.append(_latents(folder))
    return [*stages, _forecasts(folder, config), _evaluation(folder)]


def next_command(stages: list[StageStatus], *, name: str) -> str | None:
    """Return the command that does the first unfinished stage, or None if all are done."""
    for stage in stages:
        if not stage.is_done:
            return f"{stage.command} --name {name}"
    return None


def _data(folder: RunFolder, config: Config) -> StageStatus:
    root = data_root(folder, config)
    there = (root / "CATALOG.csv").exists()
    return StageStatus(
        name="data",
        is_done=there,
        progress=str(root) if there else f"no CATALOG.csv in {root}",
        command="prediff run" if config.data.root is None else "prediff run --data DIR",
    )


def _training(folder: RunFolder, config: Config, task: TrainingTask) -> StageStatus:
    name, duration = task.name, task.settings(config).duration
    total = _total(folder, config, task)
    saved = folder.checkpoints(name)
    checkpoints = list_checkpoints(saved)
    command = f"prediff train {name}"
    if not checkpoints:
        return StageStatus(
            name=name,
            is_done=False,
            progress=f"step 0 of {duration if total is None else total}",
            command=command,
        )
    step, newest = checkpoints[-1]
    state = read_state(newest)
    progress = f"step {step} of {duration if total is None else total}"
    if "imported" in state:
        progress = f"imported from {state['imported']['file']}"
    return StageStatus(
        name=name,
        is_done=total is not None and is_trained(state, total=total),
        progress=progress,
        best=_best(saved, task.best_by),
        newest=newest,
        speed=_speed(state.get("speed", {})),
        command=command,
    )


def _total(folder: RunFolder, config: Config, task: TrainingTask) -> int | None:
    """Steps of the task; None where they depend on data that are not there."""
    if task.settings(config).duration.endswith("steps"):
        return task.total_steps(config, samples=0)
    try:
        with open_split(folder, config, "train") as windows:
            return task.total_steps(config, samples=task.samples_in(windows))
    except UserError:
        return None


def _speed(speed: dict[str, float]) -> str:
    if not speed:
        return ""
    mfu = f", MFU {100 * speed['mfu']:.1f} %" if "mfu" in speed else ""
    return f"{speed['samples_per_second']:.3g} samples/s{mfu}"


def _best(saved: Path, score: str) -> str:
    best = find_best(saved, score=score)
    if best is None:
        return ""
    return f"{score} {read_state(best)['scores'][score]:.5g} in {best.name}"


def _latents(folder: RunFolder) -> StageStatus:
    stored = list_groups(folder.latents) if folder.latents.exists() else []
    groups = [describe_group(group) for group in stored]
    present = sum(group.shards_present for group in groups)
    total = sum(group.layout.num_shards for group in groups)
    return StageStatus(
        name="latents",
        is_done=bool(groups) and present == total,
        progress=f"{present} of {total} shards in {len(groups)} groups" if groups else "none",
        command="prediff cache latents",
    )


def _forecasts(folder: RunFolder, config: Config) -> StageStatus:
    wanted = config.forecast.cases
    made = len(list(folder.forecast.glob("*.nc")))
    guided = f", guided by {config.forecast.guidance.source}" if config.is_guided else ""
    return StageStatus(
        name="forecast",
        is_done=made > 0 and (wanted == "all" or made >= wanted),
        progress=f"{made} of {wanted} cases{guided}",
        command="prediff forecast",
    )


def _evaluation(folder: RunFolder) -> StageStatus:
    try:
        tables = json.loads((folder.evaluation / "scores.json").read_text())
        progress = f"{tables['cases']} cases, protocol {tables['protocol']['name']}"
    except (OSError, ValueError, KeyError):
        return StageStatus(
            name="evaluation", is_done=False, progress="none", command="prediff evaluate"
        )
    return StageStatus(
        name="evaluation", is_done=True, progress=progress, command="prediff evaluate"
    )
