"""One training step of the tiny denoiser, compiled into one graph and run eagerly, in one process.

    python profiling/eager_and_compiled_step.py [--batch 2] [--steps 10] [--eager-steps 3]

Prints the median seconds a step of both and their ratio.
"""

import argparse
import time
from collections.abc import Callable

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import mindspore as ms  # isort: skip
import numpy as np

from hpc.step import TrainStep
from prediff.config import Config
from prediff.diffusion import DiffusionLoss
from prediff.stages.train_diffusion import SCALAR_NAMES, build_loss


def make_step(config: Config) -> tuple[TrainStep, DiffusionLoss]:
    """Return the compiled step of a configuration's denoiser, and its loss Cell."""
    loss = build_loss(config)
    loss.set_train(True)
    settings = config.train_diffusion
    step = TrainStep(
        loss,
        {name: p for name, p in loss.parameters_and_names() if p.requires_grad},
        scalar_names=SCALAR_NAMES,
        weight_decay=settings.weight_decay,
        max_norm=settings.gradient_clip,
        ema_decay=settings.ema_decay,
    )
    return step, loss


def make_inputs(config: Config, batch: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    size, channels = config.latent_size, config.autoencoder.latent_channels

    def latents(frames: int) -> np.ndarray:
        return random.standard_normal((batch, frames, size, size, channels)).astype(np.float32)

    target = config.data.forecast_frames
    steps = np.arange(batch, dtype=np.int32)
    return latents(target), latents(target), steps, latents(config.data.context_frames), steps


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="compiled steps that are timed")
    parser.add_argument("--eager-steps", type=int, default=3, help="eager steps that are timed")
    options = parser.parse_args()
    ms.set_device("CPU")
    config = Config()
    inputs = make_inputs(config, options.batch)
    medians = {}
    for name, mode, repeats in (
        ("compiled", ms.GRAPH_MODE, options.steps),
        ("eager", ms.PYNATIVE_MODE, options.eager_steps),
    ):
        ms.set_context(mode=mode)
        step, _ = make_step(config)

        def run(step: TrainStep = step) -> dict[str, float]:
            return step(*inputs, learning_rate=1e-3).read()

        first = median_seconds(run, 1)
        medians[name] = median_seconds(run, repeats)
        print(f"{name}: first step {first:.2f} s, then {medians[name]:.3f} s a step", flush=True)
    print(f"eager / compiled: {medians['eager'] / medians['compiled']:.1f}")


if __name__ == "__main__":
    main()
