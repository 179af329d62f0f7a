"""Profile the training step of a task and write a report: what `prediff profile` does.

With ``--run NAME`` the task reads that run's data through its real loader; otherwise its inputs
are made up. The traces of all ranks stay in ``reports/NAME/traces`` for Perfetto.
"""

import datetime
import math
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from mindspore import nn

from hpc.cluster.affinity import is_pinned
from hpc.cluster.runtime import Runtime
from hpc.data.order import SampleOrder
from hpc.monitor.goodput import read_goodput
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from prediff.config import Config
from prediff.profiler.bottlenecks import find_losses
from prediff.profiler.compile_phases import output_to
from prediff.profiler.counted import count_products
from prediff.profiler.machine import describe_machine
from prediff.profiler.peaks import device_peaks
from prediff.profiler.record import (
    PARTS,
    ModuleWork,
    Peaks,
    RankProfile,
    Report,
    write_report,
)
from prediff.profiler.report_page import write_page
from prediff.profiler.step_loop import Rounds, profile_rank
from prediff.run_folder import RunFolder
from prediff.training.recipe import MakeInputs
from prediff.training.task import TrainingTask

BATCHES = 64
"""Of made-up inputs, before they begin again."""


def profile_task(
    task: TrainingTask,
    config: Config,
    runtime: Runtime,
    *,
    folder: Path,
    run: RunFolder | None,
    rounds: Rounds,
) -> Report | None:
    """Profile a training on all ranks; rank 0 writes and returns the report.

    Args:
        task: whose step is profiled.
        config: of the run, or any.
        runtime: the ranks.
        folder: of the report.
        run: whose data are read; None makes inputs up.
        rounds: how many steps.

    Raises:
        UserError: a batch that the ranks do not divide, or a run without the task's data.
    """
    machine = describe_machine()
    recipe, settings = task.recipe(), task.settings(config)
    parallelism = recipe.parallelize(config, ranks=runtime.place.size)
    mesh = parallelism.mesh
    made_up = nullcontext((BATCHES * settings.global_batch, recipe.made_up_inputs(config)))
    with made_up if run is None else _inputs_of(task, run, config) as (count, make_inputs):
        order = SampleOrder(count, settings.global_batch, config.seed)
        data_rank, _ = mesh.coordinates(runtime.place.rank)

        def produce(number: int) -> tuple[np.ndarray, ...]:
            batch = order.rank_batch(number, data_rank=data_rank, data_size=mesh.data)
            return make_inputs(*batch, number)

        trained = recipe.build(config, runtime=runtime, parallelism=parallelism)
        mine = profile_rank(
            trained.step,
            produce,
            runtime,
            rounds=rounds,
            folder=folder / "traces" / f"rank_{runtime.place.rank}",
        )
    everyone = runtime.all_gather_object(mine.model_dump())
    ranks = [RankProfile.model_validate(each) for each in everyone]
    if not runtime.is_first:
        return None
    parts = parallelism.micro_batches
    with output_to(folder / "traces" / "output.log"):
        modules = _modules(
            task,
            config,
            samples=settings.global_batch // mesh.data // parts,
            parts=parts,
            rank=ranks[0],
        )
    report = Report(
        name=folder.name,
        stage=task.name,
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        inputs="made up, no data were read" if run is None else f"of {run.path}",
        machine=machine,
        samples=settings.global_batch,
        operations=recipe.operations(config) * settings.global_batch,
        peaks=_peaks(modules, ranks=mesh.size, hosts=len({rank.host for rank in ranks})),
        ranks=tuple(ranks),
        modules=modules,
        parameters=parameters_by_module(trained.network),
        goodput={} if run is None else _goodput(run.path / task.name),
    )
    report = report.model_copy(update={"losses": find_losses(report)})
    write_report(folder, report)
    write_page(folder / "index.html", report)
    _to_board(folder if run is None else run.events("profile"), report)
    return report


@contextmanager
def _inputs_of(
    task: TrainingTask, run: RunFolder, config: Config
) -> Iterator[tuple[int, MakeInputs]]:
    with task.recipe().open_samples(run, config) as samples:
        yield samples.count, samples.make_inputs


def _modules(
    task: TrainingTask, config: Config, *, samples: int, parts: int, rank: RankProfile
) -> tuple[ModuleWork, ...]:
    """Return each module's products in a step's forward passes, and how long its operators took.

    Args:
        task: whose network it is.
        config: of the network.
        samples: of a micro-batch.
        parts: micro-batches of a step on a rank.
        rank: who timed the operators.
    """
    products = count_products(*task.recipe().forward(config, samples=samples))
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for product in products:
        entry = sums[product.module.removesuffix(".reference")]
        entry[0] += parts * product.operations
        entry[1] += parts * product.bytes
    for operator in rank.operators:
        if operator.phase == "forward":
            sums[_counted_name(operator.module, sums)][2] += operator.seconds
    found = [
        ModuleWork(module=module, operations=operations, bytes=moved, seconds=seconds)
        for module, (operations, moved, seconds) in sums.items()
    ]
    return tuple(sorted(found, key=lambda work: -work.seconds))


def _peaks(modules: Sequence[ModuleWork], *, ranks: int, hosts: int) -> Peaks:
    """Return the devices' peaks, measured again if a module was faster, and raised if it still is.

    Nothing exceeds the peak that the report compares it with.
    """
    fastest = max((ranks * m.operations / m.seconds for m in modules if m.seconds), default=0.0)
    found = device_peaks(ranks=ranks, hosts=hosts, pinned=is_pinned())
    if fastest > found.operations:
        again = device_peaks(ranks=ranks, hosts=hosts, pinned=is_pinned())
        found = max(found, again, key=lambda peaks: peaks.operations)
    return found.at_least(operations=fastest)


def parameters_by_module(network: nn.Cell, *, depth: int = 2) -> dict[str, int]:
    """Return numbers of parameters by the first parts of their names."""
    counts: dict[str, int] = {}
    for name, parameter in network.parameters_and_names():
        module = ".".join(name.split(".")[:-1][:depth]) or name
        counts[module] = counts.get(module, 0) + math.prod(parameter.shape)
    return counts


def _counted_name(module: str, names: Container[str]) -> str:
    """Return the path below the network of an operator's path below the loss."""
    own = module.removesuffix(".fused")
    below = own.split(".", 1)[-1]
    return below if below in names else own


def _goodput(folder: Path) -> dict[str, float]:
    found = read_goodput(folder)
    seconds = {category: value for category, value in found.seconds.items() if value}
    return seconds | ({"lost to restarts": found.lost} if found.lost else {})


def _to_board(folder: Path, report: Report) -> None:
    mean = report.ranks[0].typical()
    values = {
        "step_seconds": report.step_seconds,
        "samples_per_second": report.samples / report.step_seconds,
        "mfu": report.mfu,
        "compile_seconds": report.ranks[0].compile_seconds,
        "resident_peak_gigabytes": max(rank.resident_peak for rank in report.ranks) / 1e9,
        **{f"{part}_seconds": getattr(mean, part) for part in PARTS},
    }
    with TensorBoardWriter(folder) as board:
        board.scalars({f"profile/{report.stage}/{k}": v for k, v in values.items()}, step=0)
