"""How fast each link of the data path is, and which one a step would wait for.

    python -m profiling data-path --run NAME [--config FILE] [--seconds 2]

The links of a finished run's diffusion stage: reading latents from the store, making a batch
(reading, noise and keys), the loader's thread, and copying to the device. Each is measured alone,
from the page cache.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import mindspore as ms
import numpy as np
import typer

from hpc.data.loader import PrefetchLoader
from hpc.data.order import SampleOrder
from hpc.errors import UserError
from prediff.config import load_config
from prediff.run_folder import RUNS, RunFolder
from prediff.training.denoiser import DenoiserBatches
from prediff.training.latents import training_latents


@dataclass(frozen=True)
class Link:
    """One link of the chain."""

    name: str
    batches_per_second: float
    bytes_per_batch: float


def measure_links(
    make: Callable[[int], tuple[np.ndarray, ...]],
    read: Callable[[int], tuple[np.ndarray, ...]],
    *,
    seconds: float,
) -> list[Link]:
    """Return the speed of every link.

    Args:
        make: number of a batch -> the inputs of a step.
        read: number of a batch -> what the store gives for it.
        seconds: that each link is measured for.
    """
    inputs, stored = make(0), read(0)
    size = float(sum(array.nbytes for array in inputs))
    with PrefetchLoader(make, start=0, stop=None) as loader:
        loaded = _rate(lambda number: next(loader), seconds)
    return [
        Link("store", _rate(read, seconds), float(sum(array.nbytes for array in stored))),
        Link("batch", _rate(make, seconds), size),
        Link("loader", loaded, size),
        Link("host to device", _rate(lambda number: _to_device(inputs), seconds), size),
    ]


def _to_device(inputs: tuple[np.ndarray, ...]) -> None:
    for array in inputs:
        ms.Tensor(array)
    ms.runtime.synchronize()


def _rate(call: Callable[[int], Any], seconds: float) -> float:
    call(0)
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds or count < 3:
        count += 1
        call(count)
    return count / passed


def slowest(links: list[Link]) -> Link:
    """Return the link that limits the chain."""
    return min(links, key=lambda link: link.batches_per_second)


def run_links(folder: RunFolder, config_file: Path | None, *, seconds: float) -> list[Link]:
    """Return the links of a run's diffusion stage.

    Raises:
        UserError: the run has no latents.
    """
    config = load_config(config_file or folder.config)
    with training_latents(folder, config) as latents:
        make_inputs = DenoiserBatches(latents.training, config)
        order = SampleOrder(len(latents.training), config.train_diffusion.global_batch, config.seed)

        def samples(number: int) -> tuple[np.ndarray, np.ndarray]:
            return order.rank_batch(number, data_rank=0, data_size=1)

        def make(number: int) -> tuple[np.ndarray, ...]:
            return make_inputs(*samples(number), number)

        def read(number: int) -> tuple[np.ndarray, ...]:
            positions, numbers = samples(number)
            return latents.training.read(positions, samples=numbers)

        return measure_links(make, read, seconds=seconds)


def main(
    *,
    run: Annotated[str, typer.Option(help="its latents are read")],
    config: Path | None = None,
    seconds: Annotated[float, typer.Option(help="a link")] = 2.0,
) -> None:
    folder = RunFolder(RUNS / run)
    if not folder.config.exists():
        raise UserError(f"no run {run} in {RUNS}/")
    links = run_links(folder, config, seconds=seconds)
    for link in links:
        rate = link.batches_per_second
        print(
            f"{link.name:15} {rate:10.1f} batches/s  {rate * link.bytes_per_batch / 1e6:8.1f} MB/s"
        )
    limit = slowest(links)
    print(f"a step longer than {1e3 / limit.batches_per_second:.2f} ms never waits ({limit.name})")
