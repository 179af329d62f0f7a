"""The subcommand that tells how far a run is."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape


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
    console = Console()
    for stage in stages:
        done = "[green]done[/green]" if stage.is_done else "open"
        said = [stage.progress, *([stage.speed] if stage.speed else [])]
        # Names and paths that one copies stay whole, however narrow the terminal is.
        console.print(
            f"{stage.name:12} {done}  {escape('; '.join(said))}", soft_wrap=True, highlight=False
        )
        for label, text in (("best", stage.best), ("newest", stage.newest)):
            if text:
                console.print(
                    f"{'':12}       {label}: {escape(str(text))}", soft_wrap=True, highlight=False
                )
    command = next_command(stages, name=name)
    console.print(f"next: {command or 'nothing, all stages are done'}", highlight=False)
