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


@data_app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="folder of one service's radar files")],
    destination: Annotated[Path, typer.Argument(metavar="DIR", help="data folder to make")],
    label: Annotated[str, typer.Option(help="begins the events' names, such as the service's")],
    quantity: Annotated[
        str | None, typer.Option(help="reflectivity or rain_rate [default: the archive's]")
    ] = None,
    a: Annotated[float, typer.Option(help="of Z = a R^b, where one becomes the other")] = 200.0,
    b: Annotated[float, typer.Option(help="of Z = a R^b")] = 1.6,
    frames: Annotated[int, typer.Option(min=2, help="of an event")] = 25,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="between frames [default: the usual step]")
    ] = None,
    side_km: Annotated[float, typer.Option(min=1, help="of a square tile")] = 384.0,
    pixels: Annotated[int, typer.Option(min=8, help="along a tile's side")] = 128,
    dry_share: Annotated[float, typer.Option(help="share of dry windows that is kept")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="of the choice among dry windows")] = 0,
    licence: Annotated[str, typer.Option(help="of the source")] = "not stated",
    attribution: Annotated[str, typer.Option(help="how the source wants to be named")] = (
        "not stated"
    ),
    workers: Annotated[int, typer.Option(min=1, help="processes that read files")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be taken")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="stop at a file that is bad")] = False,
) -> None:
    """Make a data folder of what a weather service delivers; go on where it was stopped.

    Read are ODIM and KNMI HDF5, MRMS GRIB2, FMI PGM, GeoTIFF, MeteoSwiss GIF, RADOLAN, and CF
    netCDF and zarr.

    Example: prediff data import /archive/opera /data/opera --label opera --licence "CC BY 4.0"
    """
    from prediff.data.importing.plan import make_plan
    from prediff.data.importing.run import ImportSettings, import_archive

    settings = ImportSettings(
        label=label, quantity=quantity, a=a, b=b, frames=frames, minutes=minutes, side_km=side_km,
        pixels=pixels, dry_share=dry_share, seed=seed, licence=licence, attribution=attribution,
    )  # fmt: skip
    with Progress(*Progress.get_default_columns(), console=Console(stderr=True)) as bar:
        looked = bar.add_task("files looked at", total=None)
        plan = make_plan(
            source,
            frames=frames,
            minutes=minutes,
            strict=strict,
            progress=lambda done, total: bar.update(looked, completed=done, total=total),
        )
        if dry_run:
            bar.stop()
            typer.echo("\n".join(plan.lines()))
            return
        task = bar.add_task("windows", total=len(plan.windows))
        result = import_archive(
            source,
            destination,
            settings=settings,
            strict=strict,
            workers=workers,
            plan=plan,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo("\n".join(result.plan.lines()))
    for reason, count in sorted(result.left_out.items()):
        typer.echo(f"left out: {count} {reason}")
    typer.echo(
        f"{destination}: {result.events} events; wrote {result.windows_written} windows, kept "
        f"{result.windows_kept}; look with `prediff data check {destination}`"
    )
