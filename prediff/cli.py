"""The `prediff` command: one line of error and a code for bad input, a trace for a bug."""

import errno
import os
import sys
import traceback
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Annotated, NoReturn, TypeGuard

import typer

from hpc.cluster.hold import release_all
from hpc.cluster.job import enter_job, record_exit_code, serve_as_scheduler
from hpc.cluster.process_info import is_scheduler, is_worker
from hpc.cluster.stop import STOPPED_EXIT_CODE
from hpc.environment import check_threads
from hpc.errors import UserError, one_line
from prediff.commands import run
from prediff.commands.cache import cache_app
from prediff.commands.check import check_app
from prediff.commands.config import config
from prediff.commands.convert import convert_app
from prediff.commands.data import data_app
from prediff.commands.evaluate import compare, evaluate
from prediff.commands.exchange import export, import_
from prediff.commands.forecast import forecast
from prediff.commands.guidance import guidance
from prediff.commands.plan import plan
from prediff.commands.profile import profile
from prediff.commands.serve import serve
from prediff.commands.slurm import run_slurm_job
from prediff.commands.status import status
from prediff.training.stopping import Stopped

BAD_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(", ".join(map(_installed, ("prediff-hpc", "mindspore", "numpy"))))
        raise typer.Exit


def _installed(package: str) -> str:
    try:
        return f"{package} {installed_version(package)}"
    except PackageNotFoundError:
        return f"{package}, not installed"


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="say it and end"),
    ] = False,
) -> None:
    """PreDiff: probabilistic rain nowcasting by latent diffusion, trained on many devices.

    The whole job: `bash launch/msrun_8p.sh`, or `prediff run` in one process.
    """


train_app = typer.Typer(help="Train one stage of a run.", no_args_is_help=True)
app.command("run")(run.run_all)
app.command("launch")(run.launch_ranks)
app.command("slurm")(run_slurm_job)
app.add_typer(train_app, name="train")
app.add_typer(cache_app, name="cache")
app.add_typer(data_app, name="data")
app.add_typer(check_app, name="check")
app.add_typer(convert_app, name="convert")
app.command("forecast")(forecast)
app.command("serve")(serve)
app.command("export")(export)
app.command("import")(import_)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("guidance")(guidance)
app.command("status")(status)
app.command("config")(config)
app.command("plan")(plan)
app.command("profile")(profile)
train_app.command("autoencoder")(run.train_autoencoder)
train_app.command("diffusion")(run.train_diffusion)
train_app.command("alignment")(run.train_alignment)


def main() -> None:
    """Run the command line and exit with its code."""
    enter_job()
    if is_scheduler():
        serve_as_scheduler()
    code = _run()
    if is_worker():
        # A rank that fails must not wait in MindSpore's teardown for ranks that wait for it.
        _leave_at_once(record_exit_code(code))
    if sys.argv[1:2] in (["launch"], ["slurm"]):
        # MindSpore, loaded for the checks, takes seconds to leave; the next start waits for it.
        release_all()
        _leave_at_once(code)
    sys.exit(code)


def _leave_at_once(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    if "hpc.train.compile_cache" in sys.modules:
        sys.modules["hpc.train.compile_cache"].remove_scratch()
    os._exit(code)


def _run() -> int:
    try:
        check_threads()
        app()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else BAD_INPUT
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return _bad_input(error.__cause__)
    except Stopped as stopped:
        print(f"{stopped}; the same command continues", file=sys.stderr)
        return STOPPED_EXIT_CODE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if _is_full_disk(error):
            where = error.filename2 or error.filename or os.getcwd()
            print(
                f"error: no room left on the device of {where}: free some space; "
                "the same command continues",
                file=sys.stderr,
            )
            return _bad_input(error)
        traceback.print_exc()
        return 1
    return 0


def _bad_input(cause: BaseException | None) -> int:
    if _is_full_disk(cause) and not is_worker():
        # TensorBoard's exit hook would fail once more.
        _leave_at_once(BAD_INPUT)
    return BAD_INPUT


def _is_full_disk(error: BaseException | None) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
