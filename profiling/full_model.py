"""The published denoiser at batch 1: build, load a state dict, training steps, forward passes.

    python -m profiling full-model [--config configs/sevirlr.yaml] [--steps 3] [--set KEY=VALUE]
        [--graphs FOLDER]

Prints seconds, memory now and at its peak, and of forward passes and steps the share of this
process's matrix-product peak. `--set denoiser.recompute=true` and `--set
denoiser.attention_backend=reference` show what these cost; with --graphs a second run loads the
graphs that the first one compiled. Needs 8 GB, with plain operators 12 GB.
"""

import resource
import time
from pathlib import Path
from typing import Annotated
from zlib import crc32

import typer

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import mindspore as ms  # isort: skip
import numpy as np
import psutil

from hpc.cluster.runtime import ALONE
from hpc.monitor.peak import product_rate
from prediff.config import load_config
from prediff.convert import load_reference, to_reference
from prediff.graph_cache import graph_cache
from prediff.models.cost import TRAINING_PASSES
from prediff.models.denoiser_cost import DenoiserCost
from profiling.eager_and_compiled_step import make_inputs, make_step


class Clock:
    """Tells what each part took.

    Args:
        peak: operations a second of a matrix product.
    """

    def __init__(self, *, peak: float) -> None:
        self.peak = peak
        self.began = time.perf_counter()

    def tell(self, what: str, *, operations: float | None = None) -> None:
        seconds = time.perf_counter() - self.began
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        now = psutil.Process().memory_info().rss / 2**30
        line = f"{what}: {seconds:.1f} s, memory {now:.1f} GiB, at most {most:.1f} GiB"
        if operations is not None:
            rate = operations / seconds
            line += f", {rate / 1e9:.0f} GFLOP/s, {rate / self.peak:.0%} of the peak"
        print(line, flush=True)
        self.began = time.perf_counter()


def made_up(names: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights by name, of the right shapes and of a sensible size."""

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        random = np.random.RandomState(crc32(name.encode()))
        normal = random.standard_normal(shape).astype(np.float32)
        return normal / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1 * normal

    return {name: values(name, array.shape) for name, array in names.items()}


def main(
    *,
    config_file: Annotated[Path, typer.Option("--config")] = Path("configs/sevirlr.yaml"),
    steps: Annotated[int, typer.Option(help="training steps after the first")] = 3,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")] = None,
    graphs: Annotated[Path | None, typer.Option(help="keep compiled graphs here")] = None,
) -> None:
    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    config = load_config(config_file, ["train_diffusion.global_batch=1", *(changes or ())])
    peak = product_rate()
    print(f"matrix product: {peak / 1e9:.0f} GFLOP/s")
    operations = DenoiserCost(config).total().operations
    clock = Clock(peak=peak)
    step, loss = make_step(config)
    denoiser = loss.denoiser
    count = sum(parameter.size for parameter in denoiser.get_parameters())
    clock.tell(f"built, {count} parameters")
    load_reference(denoiser, made_up(to_reference(denoiser)))
    clock.tell("loaded a state dict under the reference's names")
    inputs = make_inputs(config, 1)
    _, noise, times, condition, _ = inputs
    if graphs is None:
        step.compile(*inputs)
    else:
        step.compile(*inputs, compiler=graph_cache(ALONE, folder=graphs).compile)
    clock.tell("compiled or loaded the training step")
    for number in range(1 + steps):
        report = step(*inputs, learning_rate=1e-4).read()
        what = "training step" if number else "first training step"
        clock.tell(
            f"{what}, loss {report['loss']:.4f}",
            operations=TRAINING_PASSES * operations if number else None,
        )
    denoiser.set_train(False)
    for what in ("first forward, with compilation", *["forward"] * steps):
        denoiser(ms.Tensor(noise), ms.Tensor(times), ms.Tensor(condition)).asnumpy()
        clock.tell(what, operations=operations if what == "forward" else None)
