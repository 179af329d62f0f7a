"""`prediff slurm`: do what `run` does on all nodes of a Slurm job."""

from typing import Annotated

import typer
from rich.console import Console

from hpc.cluster.process_info import discover
from hpc.environment import NPU_DEVICES
from prediff.commands.options import ConfigOption, DataOption, NameOption, SetOption, WaitOption
from prediff.commands.run import hold, refuse_strangers, start_number
from prediff.config import Config
from prediff.run_folder import RunFolder, open_run


def run_slurm_job(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="ranks a node [default: one an NPU, else one]"),
    ] = None,
    wait: WaitOption = False,
) -> None:
    """Do what `run` does on all nodes of a Slurm job; launch/cluster.slurm calls it.

    Example: sbatch --nodes=4 launch/cluster.slurm --data /data/sevirlr --name first
    """
    from hpc.cluster.slurm import allocation, run_on_nodes
    from prediff.check import check_job
    from prediff.stages import first_unfinished, print_results

    refuse_strangers(discover(), instead="prediff launch")
    where = allocation()
    workers = workers or len(list(NPU_DEVICES.glob("davinci[0-9]*"))) or 1

    def check(folder: RunFolder, config: Config) -> None:
        check_job(folder, config, ranks=workers * len(where.nodes))
        hold(folder, wait=wait)

    folder, resolved = open_run(
        name=name,
        config=config,
        data=data,
        overrides=set_ or (),
        check=check,
    )
    code = 0
    if first_unfinished(folder, resolved) is not None:
        code = run_on_nodes(
            ["prediff", "run", "--name", name],
            where=where,
            workers=workers,
            log_dir=folder.log,
            stop_file=folder.stop_file,
            start=start_number(folder),
        )
    if code:
        raise typer.Exit(code)
    print_results(folder, Console())
