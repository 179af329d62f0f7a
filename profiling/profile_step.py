"""Profile the training step of a stage and write a report: `prediff profile` does the same.

    python profiling/profile_step.py --config configs/tiny.yaml --stage diffusion

With ``--run NAME`` the stage reads that run's data through its real loader; otherwise its inputs
are made up. The traces of all ranks stay in ``reports/NAME/traces`` for chrome://tracing.
"""

import datetime
from itertools import groupby
from pathlib import Path

import numpy as np

from hpc.data.order import SampleOrder
from hpc.mesh import Mesh, make_mesh
from hpc.monitor.board import Board
from hpc.runtime import Runtime
from hpc.stop import StopRequest
from prediff.config import Config
from prediff.stages.run_folder import RunFolder
from prediff.stages.train_alignment import train_alignment
from prediff.stages.train_autoencoder import train_autoencoder
from prediff.stages.train_diffusion import train_diffusion
from prediff.stages.training import TrainingStage, accumulation
from profiling.counted import count_products
from profiling.forward import forward_pass
from profiling.losses import find_losses
from profiling.machine import describe_machine
from profiling.made_up import made_up_stage
from profiling.peaks import device_peaks
from profiling.record import PARTS, ModuleWork, RankProfile, Report, write_report
from profiling.report_page import write_page
from profiling.step_loop import Rounds, profile_rank

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
        with StopRequest(stop_file=run.stop_file, max_seconds=None, owns_file=False) as stop:
            TRAINERS[name](run, config, runtime, stop=stop, drive=drive)
    ((stage, mesh, ranks),) = found
    if not runtime.is_first:
        return None
    samples = settings.global_batch // mesh.data // accumulation(settings, data_ranks=mesh.data)
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
        modules=_modules(name, config, samples=samples, rank=ranks[0]),
    )
    report = report.model_copy(update={"losses": find_losses(report)})
    write_report(folder, report)
    write_page(folder / "index.html", report)
    _to_board(folder if run is None else run.events("profile"), report)
    return report


def _modules(
    name: str, config: Config, *, samples: int, rank: RankProfile
) -> tuple[ModuleWork, ...]:
    """Return the products of each module of a forward pass, and how long its operators took."""
    network, call = forward_pass(name, config, samples=samples)
    products = sorted(count_products(network, call), key=lambda product: product.module)
    found = []
    for module, group in groupby(products, key=lambda product: product.module):
        made = list(group)
        module = module.removesuffix(".reference")
        seconds = sum(
            operator.seconds
            for operator in rank.operators
            if operator.phase == "forward"
            and f".{operator.module}".removesuffix(".fused").endswith(f".{module}")
        )
        found.append(
            ModuleWork(
                module=module,
                operations=sum(product.operations for product in made),
                bytes=sum(product.bytes for product in made),
                seconds=seconds,
            )
        )
    return tuple(sorted(found, key=lambda work: -work.operations))


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
    with Board(folder) as board:
        board.scalars({f"profile/{report.stage}/{k}": v for k, v in values.items()}, step=0)


if __name__ == "__main__":
    import typer

    from prediff.commands.profile import profile

    typer.run(profile)
