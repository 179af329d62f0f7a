"""What `prediff profile` does: profile the training step of a network and write a report.

With ``--run NAME`` the stage reads that run's data through its real loader; otherwise its inputs
are made up. The traces of all ranks stay in ``reports/NAME/traces`` for chrome://tracing.
"""

import datetime
from collections import defaultdict
from collections.abc import Container
from pathlib import Path

import numpy as np

from hpc.cluster.mesh import Mesh, make_mesh
from hpc.cluster.runtime import Runtime
from hpc.cluster.stop import StopRequest
from hpc.data.order import SampleOrder
from hpc.monitor.goodput import read_goodput
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from prediff.config import Config
from prediff.profiler.bottlenecks import find_losses
from prediff.profiler.compile_phases import output_to
from prediff.profiler.counted import count_products
from prediff.profiler.forward import forward_pass
from prediff.profiler.machine import describe_machine
from prediff.profiler.made_up import made_up_stage
from prediff.profiler.peaks import device_peaks
from prediff.profiler.record import PARTS, ModuleWork, RankProfile, Report, write_report
from prediff.profiler.report_page import write_page
from prediff.profiler.step_loop import Rounds, profile_rank
from prediff.run_folder import RunFolder
from prediff.training.alignment import train_alignment
from prediff.training.autoencoder import train_autoencoder
from prediff.training.denoiser import train_diffusion
from prediff.training.loop import TrainingStage, accumulation

TRAINERS = {
    "autoencoder": train_autoencoder,
    "diffusion": train_diffusion,
    "alignment": train_alignment,
}
REPORTS = Path("reports")


def profile_stage(
    name: str,
    config: Config,
    runtime: Runtime,
    *,
    folder: Path,
    run: RunFolder | None,
    rounds: Rounds,
) -> Report | None:
    """Profile a stage on all ranks; rank 0 writes and returns the report.

    Args:
        name: of the stage, one of `TRAINERS`.
        config: of the run, or any.
        runtime: the ranks.
        folder: of the report.
        run: whose data are read; None makes inputs up.
        rounds: how many steps.

    Raises:
        UserError: a batch that the ranks do not divide, or a run without the stage's data.
    """
    machine = describe_machine()
    found: list[tuple[TrainingStage, Mesh, list[RankProfile]]] = []

    def drive(
        run: RunFolder | None,
        config: Config,
        runtime: Runtime,
        mesh: Mesh,
        stage: TrainingStage,
        *,
        stop: StopRequest | None = None,
    ) -> None:
        order = SampleOrder(stage.num_samples, stage.settings.global_batch, config.seed)
        data_rank, _ = mesh.coordinates(runtime.place.rank)

        def produce(number: int) -> tuple[np.ndarray, ...]:
            positions = order.rank_slice(number, data_rank=data_rank, data_size=mesh.data)
            start = number * stage.settings.global_batch + data_rank * len(positions)
            return stage.make_inputs(positions, start + np.arange(len(positions)), number)

        mine = profile_rank(
            stage.step,
            produce,
            runtime,
            rounds=rounds,
            folder=folder / "traces" / f"rank_{runtime.place.rank}",
        )
        found.append((stage, mesh, runtime.all_gather_object(mine)))

    settings = getattr(config, f"train_{name}")
    if run is None:
        mesh = make_mesh(ranks=runtime.place.size, global_batch=settings.global_batch)
        stage = made_up_stage(name, config, mesh=mesh, runtime=runtime)
        drive(None, config, runtime, mesh, stage)
    else:
        with StopRequest(stop_file=run.stop_file, max_seconds=None, leads=False) as stop:
            TRAINERS[name](run, config, runtime, stop=stop, drive=drive)
    ((stage, mesh, ranks),) = found
    if not runtime.is_first:
        return None
    parts = accumulation(settings, data_ranks=mesh.data)
    with output_to(folder / "traces" / "output.log"):
        modules = _modules(
            name,
            config,
            samples=settings.global_batch // mesh.data // parts,
            parts=parts,
            rank=ranks[0],
        )
    report = Report(
        name=folder.name,
        stage=name,
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        inputs="made up, no data were read" if run is None else f"of {run.path}",
        machine=machine,
        samples=settings.global_batch,
        operations=stage.operations * settings.global_batch,
        peaks=device_peaks(ranks=mesh.size, hosts=len({rank.host for rank in ranks})),
        ranks=tuple(ranks),
        modules=modules,
        goodput={} if run is None else _goodput(run.path / name),
    )
    report = report.model_copy(update={"losses": find_losses(report)})
    write_report(folder, report)
    write_page(folder / "index.html", report)
    _to_board(folder if run is None else run.events("profile"), report)
    return report


def _modules(
    name: str, config: Config, *, samples: int, parts: int, rank: RankProfile
) -> tuple[ModuleWork, ...]:
    """Return each module's products in a step's forward passes, and how long its operators took.

    Args:
        name: of the stage.
        config: of the network.
        samples: of a micro-batch.
        parts: micro-batches of a step on a rank.
        rank: who timed the operators.
    """
    products = count_products(*forward_pass(name, config, samples=samples))
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
