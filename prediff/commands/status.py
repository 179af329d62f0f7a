"""The subcommand that tells how far a run is."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def status(
    name: Annotated[str, typer.Argument(metavar="RUN", help="the run in runs/RUN")] = "tiny",
) -> None:
    """Show the stages of a run, its best scores, its checkpoints and what to do next.

    Example: prediff status first
    """
    from prediff.config import load_config
    from prediff.run_folder import existing_run
    from prediff.status import next_command, run_status

    folder = existing_run(name, what="RUN")
    stages = run_status(folder, load_config(folder.config))
    table = Table("stage", "", "progress", "best score", "speed", "newest checkpoint")
    for stage in stages:
        done = "[green]done[/green]" if stage.is_done else "open"
        newest = stage.newest.name if stage.newest else ""
        table.add_row(stage.name, done, stage.progress, stage.best, stage.speed, newest)
    console = Console()
    console.print(table)
    command = next_command(stages, name=name)
    console.print(f"next: {command or 'nothing, all stages are done'}", highlight=False)
