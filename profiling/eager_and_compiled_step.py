"""One training step of the tiny denoiser, compiled into one graph and run eagerly, in one process.

    python -m profiling eager-and-compiled-step [--batch 2] [--steps 10] [--eager-steps 3]

Prints the median seconds a step of both and their ratio.
"""

from typing import Annotated

import typer

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import mindspore as ms  # isort: skip
import numpy as np

from hpc.train.step import TrainStep
from prediff.config import Config, load_config
from prediff.diffusion import DiffusionLoss
from prediff.training.denoiser import made_up_inputs
from prediff.training.denoiser_step import build_step
from prediff.training.diffusion_network import build_loss
from prediff.training.parallelize import parallelize_denoiser
from profiling.timing import median_seconds


def make_step(config: Config) -> tuple[TrainStep, DiffusionLoss]:
    """Return the step of a configuration's denoiser on one process, and its loss Cell."""
    loss = build_loss(config)
    parallelism = parallelize_denoiser(config, ranks=1)
    return build_step(loss, config, parallelism=parallelism), loss


def make_inputs(config: Config, batch: int) -> tuple[np.ndarray, ...]:
    """Return made-up inputs of the loss Cell for a batch."""
    numbers = np.arange(batch)
    return made_up_inputs(config)(numbers, numbers, 0)


def main(
    *,
    batch: int = 2,
    steps: Annotated[int, typer.Option(help="compiled steps that are timed")] = 10,
    eager_steps: Annotated[int, typer.Option(help="eager steps that are timed")] = 3,
) -> None:
    ms.set_device("CPU")
    config = load_config(
        None, [f"train_diffusion.{key}={batch}" for key in ("global_batch", "micro_batch")]
    )
    inputs = make_inputs(config, batch)
    medians = {}
    for name, mode, repeats in (
        ("compiled", ms.GRAPH_MODE, steps),
        ("eager", ms.PYNATIVE_MODE, eager_steps),
    ):
        ms.set_context(mode=mode)
        step, _ = make_step(config)

        def run(step: TrainStep = step) -> dict[str, float]:
            return step(*inputs, learning_rate=1e-3).read()

        first = median_seconds(run, runs=1, warm_up=0)
        medians[name] = median_seconds(run, runs=repeats, warm_up=0)
        print(f"{name}: first step {first:.2f} s, then {medians[name]:.3f} s a step", flush=True)
    print(f"eager / compiled: {medians['eager'] / medians['compiled']:.1f}")
