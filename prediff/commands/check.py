"""`prediff check`: is this host ready?"""

import typer

check_app = typer.Typer(help="Ask whether a host is ready.", no_args_is_help=True)


@check_app.callback()
def _group() -> None:
    """Keep `ascend` a subcommand, however few there are."""


@check_app.command("ascend")
def ascend() -> None:
    """Ask this host's driver, CANN, MindSpore and NPU whether training can start here.

    One line a question: pass, FAIL with what to do, or skip. Exit code 0, or 2 if a line fails.
    On all nodes of a Slurm job: `srun --ntasks-per-node=1 prediff check ascend`.
    """
    from hpc.cluster.ascend_host import check_host

    is_good = True
    for answer in check_host():
        typer.echo(str(answer))
        is_good = is_good and answer.is_good is not False
    if not is_good:
        raise typer.Exit(2)
