"""How costs grow with the work, apart from the networks: seconds by size, and the exponent.

    python -m profiling growth
    python -m profiling growth --only schedule --only score

An exponent of 1 is linear, 2 is square. Each row is this process's processor time, its best of
three, for a size in the ordinary range of a large cluster or archive; about a minute in all.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from hpc.data.order import order
from hpc.errors import UserError
from hpc.monitor.goodput import Ledger
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from hpc.pipeline.schedule import folded_one_forward_one_backward
from prediff.verification.case import ScoredCase
from prediff.verification.ensemble import RankHistogramFamily
from prediff.verification.neighbourhood import NeighbourhoodFamily

ROUNDS = 3


def sample_order(samples: int) -> None:
    """The order of an epoch's samples."""
    order.cache_clear()
    order(num_samples=samples, seed=0, epoch=0)


def schedule(stages: int) -> None:
    """The schedule of a folded pipeline, 64 micro-batches, by stages."""
    folded_one_forward_one_backward(stages=stages, micro_batches=64)


def goodput(checkpoints: int) -> None:
    """The ledger of a run, by checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder), resumed_step=0)
        for step in range(1, checkpoints + 1):
            ledger.add("step", 1.0)
            ledger.flush(step=step)
            ledger.total()


def tensorboard(lines: int) -> None:
    """Log lines of 12 curves."""
    with tempfile.TemporaryDirectory() as folder, TensorBoardWriter(Path(folder)) as writer:
        for step in range(lines):
            writer.scalars({f"curve/{number}": 1.0 for number in range(12)}, step=step)


def score(members: int) -> None:
    """Rank histogram and neighbourhood scores of a case of 3 x 64 x 64, by members."""
    random = np.random.default_rng(0)
    case = ScoredCase(
        random.random((members, 3, 64, 64), np.float32), random.random((3, 64, 64), np.float32)
    )
    RankHistogramFamily(members=members).case_sums(case)
    NeighbourhoodFamily().case_sums(case)


MEASURES: dict[str, tuple[Callable[[int], None], tuple[int, ...]]] = {
    "sample-order": (sample_order, (10**5, 10**6, 10**7)),
    "schedule": (schedule, (8, 16, 32, 64)),
    "goodput": (goodput, (100, 1_000, 10_000)),
    "tensorboard": (tensorboard, (100, 1_000)),
    "score": (score, (8, 64, 256)),
}


def exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Return the slope between the last two sizes, where small constant costs matter least."""
    return float(np.log(seconds[-1] / seconds[-2]) / np.log(sizes[-1] / sizes[-2]))


def main(
    *,
    only: Annotated[list[str] | None, typer.Option(help="names of rows, may be repeated")] = None,
) -> None:
    if unknown := set(only or ()) - set(MEASURES):
        raise UserError(f"no row {unknown.pop()}: choose {', '.join(MEASURES)}")
    table = Table("what", "sizes", "seconds", "exponent")
    for name in only or MEASURES:
        measure, sizes = MEASURES[name]
        seconds = [min(_cpu_seconds(measure, size) for _ in range(ROUNDS)) for size in sizes]
        table.add_row(
            (measure.__doc__ or name).rstrip("."),
            " / ".join(f"{size:,}" for size in sizes),
            " / ".join(f"{value:.3g}" for value in seconds),
            f"{exponent(sizes, seconds):.2f}",
        )
    Console(width=120).print(table)


def _cpu_seconds(measure: Callable[[int], None], size: int) -> float:
    began = time.process_time()
    measure(size)
    return time.process_time() - began
