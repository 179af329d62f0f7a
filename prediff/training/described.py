"""What TensorBoard says of a training beside its curves: settings, environment, network."""

import math
import os
import platform
import shlex
import sys
from collections.abc import Iterable

import yaml

from hpc.monitor.tensorboard_writer import TensorBoardWriter
from hpc.monitor.training_curves import LAYOUT, flat_settings
from prediff.config import Config
from prediff.run_folder import RunFolder
from prediff.training.adversarial_step import AdversarialStep, AnyStep
from prediff.training.resume import software
from prediff.training.task import TrainingTask


def describe_training(
    board: TensorBoardWriter,
    folder: RunFolder,
    config: Config,
    *,
    task: TrainingTask,
    step: AnyStep,
    ranks: int,
    total: int,
) -> None:
    """Add the layout, the texts and the hyperparameters of a task to its events."""
    board.layout(LAYOUT)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None)
    board.text("configuration", f"    {text.rstrip().replace(chr(10), chr(10) + '    ')}")
    board.text("environment", _environment(ranks))
    trained = step.generator if isinstance(step, AdversarialStep) else step
    shapes = {name: tuple(p.shape) for name, p in trained.parameters.items()}
    board.text("network", network_table(shapes.items()))
    used = {
        "task": task.name,
        "run": folder.name,
        "seed": config.seed,
        "ranks": ranks,
        "steps": total,
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
    }
    for section in ("data", task.network, "diffusion", f"train_{task.name}", "parallel"):
        used |= flat_settings({section: getattr(config, section).model_dump(mode="json")})
    board.hyperparameters(used)


def network_table(shapes: Iterable[tuple[str, tuple[int, ...]]], *, depth: int = 2) -> str:
    """Return a Markdown table of the parameters by the first parts of their names."""
    counts: dict[str, int] = {}
    for name, shape in shapes:
        module = ".".join(name.split(".")[:-1][:depth]) or name
        counts[module] = counts.get(module, 0) + math.prod(shape)
    total = sum(counts.values())
    rows = [
        f"| {name} | {count:,} | {100 * count / total:.1f} % |" for name, count in counts.items()
    ]
    return "\n".join(
        [
            "| module | parameters | share |",
            "|---|---:|---:|",
            *rows,
            f"| **all** | **{total:,}** | 100 % |",
        ]
    )


def _environment(ranks: int) -> str:
    rows = {
        "command": shlex.join(sys.argv),
        "host": platform.node(),
        "system": platform.platform(),
        "cores": str(len(os.sched_getaffinity(0))),
        "ranks": str(ranks),
        **software(),
    }
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in rows.items())]
    )
