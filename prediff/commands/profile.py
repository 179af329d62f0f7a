"""The subcommand that tells where a training step's time goes."""

import os
from pathlib import Path
from typing import Annotated

import typer

from hpc.cluster.process_info import discover, is_worker
from hpc.cluster.rank_log import redirect_to_rank_log
from hpc.cluster.supervisor import launch
from hpc.errors import UserError
from prediff.commands.options import ConfigOption, SetOption
from prediff.commands.run import refuse_strangers
from prediff.run_folder import TRAININGS


def profile(
    config: ConfigOption = None,
    set_: SetOption = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="read the data of runs/RUN; without it inputs are made up"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="the report goes to reports/NAME")
    ] = None,
    stage: Annotated[str, typer.Option(help="autoencoder, diffusion or alignment")] = "diffusion",
    workers: Annotated[int, typer.Option(min=1, help="processes on this host")] = 1,
    warm_up: Annotated[int, typer.Option(min=0, help="steps before the clock runs")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="steps that are timed")] = 5,
    active: Annotated[int, typer.Option(min=1, help="steps under the profiler")] = 3,
) -> None:
    """Profile the training step of a stage; writes reports/NAME/index.html and report.json.

    Example: prediff profile --stage diffusion --name first --set train_diffusion.global_batch=4
    """
    from prediff.check import check_settings
    from prediff.config import load_config
    from prediff.names import join_inside
    from prediff.run_folder import RUNS, RunFolder

    refuse_strangers(discover(), instead="prediff profile")
    if stage not in TRAININGS:
        raise UserError(f"--stage {stage!r} is unknown: choose {', '.join(TRAININGS)}")
    folder = None if run is None else RunFolder(join_inside(RUNS, run, what="--run"))
    if folder is not None and not folder.config.exists():
        raise UserError(f"no run {run} in {RUNS}/: leave --run out to profile made-up inputs")
    resolved = load_config(config or (None if folder is None else folder.config), set_ or ())
    if "MS_ROLE" not in os.environ:
        check_settings(resolved, aligns=stage == "alignment")
    target = join_inside(Path("reports"), name or run or stage, what="--name")
    if workers > 1 and not is_worker():
        options = [
            *(["--config", str(config)] if config else []),
            *(text for each in set_ or () for text in ("--set", each)),
            *(["--run", run] if run else []),
            *("--name", target.name, "--stage", stage, "--warm-up", str(warm_up)),
            *("--steps", str(steps), "--active", str(active)),
        ]
        code = launch(
            ["prediff", "profile", *options],
            workers=workers,
            log_dir=target / "log",
            stop_file=target / "stop",
            port=None,
        )
        if code:
            raise typer.Exit(code)
        return
    if is_worker():
        redirect_to_rank_log(target / "log", discover().rank)

    from prediff.profiler.compile_phases import ENVIRONMENT

    os.environ.update(ENVIRONMENT | os.environ)
    from hpc.cluster.runtime import start_runtime
    from prediff.profiler.profile_step import profile_task
    from prediff.profiler.report_page import summary
    from prediff.profiler.step_loop import Rounds
    from prediff.training.task import training_task

    with start_runtime() as runtime:
        report = profile_task(
            training_task(stage, resolved),
            resolved,
            runtime,
            folder=target,
            run=folder,
            rounds=Rounds(warm_up=warm_up, timed=steps, profiled=active),
        )
        if report is not None:
            print(summary(report))
            print(f"report: {target / 'index.html'}", flush=True)
