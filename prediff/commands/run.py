"""Subcommands that work on a run: all stages, one stage, or all of it in several processes."""

import errno
import sys
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hpc.cluster.hold import Hold, hold_run
from hpc.cluster.job import in_job
from hpc.cluster.marks import BAD_INPUT
from hpc.cluster.process_info import ProcessInfo, discover, is_worker
from hpc.cluster.rank_log import redirect_to_rank_log
from hpc.cluster.supervisor import launch
from hpc.errors import UserError
from prediff.commands.options import (
    ConfigOption,
    DataOption,
    NameOption,
    ResumeOption,
    SetOption,
    WaitOption,
)
from prediff.config import Config
from prediff.run_folder import TRAININGS, RunFolder, open_run

MaxTimeOption = Annotated[
    float | None,
    typer.Option("--max-time", min=0, help="minutes, then save and stop with code 75"),
]


def run_all(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    resume: ResumeOption = "auto",
    max_time: MaxTimeOption = None,
    wait: WaitOption = False,
) -> None:
    """Do every stage that is not done: data, VAE, latents, denoiser, forecast, scores.

    Example: prediff run --data /data/sevirlr --name first --set train_diffusion.global_batch=32
    """
    folder, resolved = open_command(config, data, name, set_, resume, trains=TRAININGS, wait=wait)
    work(folder, resolved, names=None, max_time=max_time)
    if not discover().has_collectives:
        show_results(folder)


def train_autoencoder(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    resume: ResumeOption = "auto",
    max_time: MaxTimeOption = None,
    wait: WaitOption = False,
) -> None:
    """Train the frame-wise VAE.

    Example: prediff train autoencoder --name first --set train_autoencoder.global_batch=32
    """
    work(
        *open_command(config, data, name, set_, resume, trains=("autoencoder",), wait=wait),
        names={"data", "autoencoder"},
        max_time=max_time,
    )


def train_diffusion(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    resume: ResumeOption = "auto",
    max_time: MaxTimeOption = None,
    wait: WaitOption = False,
) -> None:
    """Train the latent denoiser; needs the VAE and the latents.

    Example: prediff train diffusion --name first --max-time 55
    """
    work(
        *open_command(
            config,
            data,
            name,
            set_,
            resume,
            trains=("diffusion",),
            does={"diffusion"},
            wait=wait,
        ),
        names={"diffusion"},
        max_time=max_time,
    )


def train_alignment(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    resume: ResumeOption = "auto",
    max_time: MaxTimeOption = None,
    wait: WaitOption = False,
) -> None:
    """Train the network that guides forecasts to a mean intensity; needs the VAE and the latents.

    Example: prediff train alignment --name first --set train_alignment.global_batch=128
    """
    work(
        *open_command(
            config,
            data,
            name,
            set_,
            resume,
            trains=("alignment",),
            does={"alignment"},
            wait=wait,
        ),
        names={"alignment"},
        max_time=max_time,
    )


def launch_ranks(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    resume: ResumeOption = "auto",
    max_time: MaxTimeOption = None,
    wait: WaitOption = False,
    workers: Annotated[int, typer.Option(min=1, help="processes on this host")] = 8,
    port: Annotated[
        int | None,
        typer.Option(min=1024, max=65535, help="of the scheduler [default: a free one]"),
    ] = None,
) -> None:
    """Do what `run` does in several processes of this host, under msrun.

    Example: prediff launch --workers 2 --name first --set train_diffusion.duration='100 steps'
    """
    from prediff.stages import first_unfinished

    folder, resolved = open_command(
        config, data, name, set_, resume, trains=TRAININGS, ranks=workers, wait=wait
    )
    code = 0
    if first_unfinished(folder, resolved) is not None:
        limit = [] if max_time is None else ["--max-time", str(max_time)]
        code = launch(
            ["prediff", "run", "--name", name, "--resume", folder.resume, *limit],
            workers=workers,
            log_dir=folder.log,
            stop_file=folder.stop_file,
            port=port,
            start=start_number(folder),
        )
    if code:
        raise typer.Exit(code)
    show_results(folder)


def open_command(
    config: Path | None,
    data: Path | None,
    name: str,
    overrides: list[str] | None,
    resume: str = "auto",
    *,
    trains: Collection[str] = (),
    does: Collection[str] = (),
    ranks: int | None = None,
    wait: bool = False,
) -> tuple[RunFolder, Config]:
    """Return the run that a command works on, and send a rank's output to its log.

    Args:
        trains: stages that the command may train. Settings, ranks and data are checked first,
            except in a rank, whose launcher has done so.
        does: its tasks, where it cannot begin with the first one of a run.
        ranks: that it starts for them; None is those that are there.
        wait: until another start of the run has ended, in place of refusing.
    """
    place = discover()

    def check(folder: RunFolder, config: Config) -> None:
        from prediff.check import check_job  # MindSpore comes after the configuration

        check_job(folder, config, ranks=ranks or place.size, trains=trains, does=does)
        if trains:
            hold(folder, wait=wait)

    refuse_strangers(place, instead="prediff launch")
    folder, resolved = open_run(
        name=name,
        config=config,
        data=data,
        overrides=overrides or (),
        resume=resume,
        save=place.rank == 0 and not in_job(),
        must_exist=bool(does),
        check=check if not place.has_collectives else None,
    )
    if is_worker():
        redirect_to_rank_log(folder.log, place.rank)
    return folder, resolved


def hold(folder: RunFolder, *, wait: bool) -> Hold | None:
    """Take a run for this command until it ends; None where nothing can be written anyway.

    Raises:
        UserError: another start holds the run.
    """
    words = takewhile(lambda word: not word.startswith("-"), sys.argv[1:])
    try:
        return hold_run(folder.path, what=" ".join(["prediff", *words]), wait=wait)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        return None


def start_number(folder: RunFolder) -> int | None:
    """Return the number of the start for which this command holds a run."""
    held = hold(folder, wait=False)
    return None if held is None else held.number


def refuse_strangers(place: ProcessInfo, *, instead: str) -> None:
    """Refuse processes that mpirun or srun started side by side: each would do the whole run.

    Args:
        place: of this process.
        instead: the command that starts ranks itself.

    Raises:
        UserError: in the first process; the others end with the same code and say nothing.
    """
    if place.has_collectives or place.size == 1:
        return
    if place.rank:
        raise typer.Exit(BAD_INPUT)
    starter = "srun" if place.launcher == "slurm" else "mpirun (or srun with MPI)"
    raise UserError(
        f"{starter} started {place.size} processes, and each would do the whole run: use "
        f"`sbatch launch/cluster.slurm`, or `{instead} --workers {place.size}` on one host; only "
        "`prediff cache latents` is started so"
    )


def work(
    folder: RunFolder, config: Config, *, names: set[str] | None, max_time: float | None
) -> None:
    """Do the named stages of a run, or all of them."""
    from hpc.cluster.runtime import start_runtime
    from hpc.cluster.stop import StopRequest
    from prediff.stages import run_stages

    runtime = start_runtime()
    seconds = None if max_time is None else 60 * max_time
    with (
        runtime,
        StopRequest(
            stop_file=folder.stop_file, max_seconds=seconds, leads=runtime.is_first
        ) as stop,
    ):
        run_stages(folder, config, runtime, stop, names=names)


def show_results(folder: RunFolder) -> None:
    """Print the score table of a run and where everything is."""
    from prediff.stages import print_results

    print_results(folder, Console())
