"""Subcommands about radar data: look at them, reduce them, make them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from prediff.commands.options import ConfigOption, SetOption

data_app = typer.Typer(help="Make, check and reduce radar data.", no_args_is_help=True)


@data_app.command("check")
def check(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="folder with CATALOG.csv")],
    config: ConfigOption = None,
    set_: SetOption = None,
    full: Annotated[bool, typer.Option("--full", help="read every pixel, not a sample")] = False,
) -> None:
    """Say what is there, what is broken, and what training and test would use.

    Example: prediff data check /data/sevirlr --full
    """
    from prediff.config import load_config
    from prediff.data.check import check as check_tree
    from prediff.data.open_data import selection

    report = check_tree(
        root, selection=selection(root, load_config(config, set_ or ())), read_all=full
    )
    report.print(Console())
    if not report.ok:
        raise typer.Exit(2)


@data_app.command("downsample")
def downsample(
    source: Annotated[Path, typer.Argument(help="SEVIR tree")],
    destination: Annotated[Path, typer.Argument(help="SEVIR-LR tree to make or complete")],
) -> None:
    """Make SEVIR-LR of SEVIR: every second frame, maximum of 3x3 pixels.

    Example: prediff data downsample /data/sevir /data/sevirlr
    """
    from prediff.data.downsample import downsample as reduce_tree

    with Progress() as bar:
        task = bar.add_task("events", total=None)
        result = reduce_tree(
            source,
            destination,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(
        f"{destination}: wrote {result.files_written} files with {result.events_written} events, "
        f"kept {result.files_kept}"
    )


@data_app.command("synthesize")
def synthesize(
    destination: Annotated[Path, typer.Argument(metavar="DIR", help="folder to make")],
    events: Annotated[int, typer.Option(min=2, help="25 frames each")] = 60,
    size: Annotated[int, typer.Option(min=8, help="pixels a side, 384 km")] = 128,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make synthetic storms in exactly the layout of SEVIR-LR.

    Example: prediff data synthesize /tmp/storms --events 100 --size 64
    """
    from prediff.data.synthesize import Recipe
    from prediff.data.synthesize import synthesize as make_storms

    with Progress() as bar:
        task = bar.add_task("events", total=events)
        made = make_storms(
            destination,
            recipe=Recipe(events=events, size=size, seed=seed),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"{destination}: {'made' if made else 'already holds'} {events} events")
