"""Subcommands of the latent store: build it, look at it, check it."""

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from hpc.cluster.mpi import started_ranks
from hpc.cluster.process_info import discover
from hpc.errors import UserError
from prediff.commands.options import ConfigOption, DataOption, NameOption, SetOption
from prediff.config import Config
from prediff.latents.layout import list_groups
from prediff.latents.verify import describe_group, drop_damaged, verify_group
from prediff.latents.writer import BuildProgress
from prediff.run_folder import RunFolder, existing_run, open_run

cache_app = typer.Typer(help="The latent store.", no_args_is_help=True)
DAMAGED = 1


@cache_app.command("latents")
def latents(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
) -> None:
    """Encode every event once; what is whole already is kept.

    On many hosts: mpirun -n 8 python -m mpi4py -m prediff cache latents --name first

    Example: prediff cache latents --name first
    """
    place = discover()
    given = {"rank": place.rank, "size": place.size} if place.has_collectives else {}
    with started_ranks(**given) as ranks:
        folder, resolved = open_run(
            name=name,
            config=config,
            data=data,
            overrides=set_ or (),
            save=ranks.rank == 0,
            must_exist=True,
            check=_check_latents,
        )
        from hpc.cluster.runtime import start_runtime
        from prediff.latents.cache import cache_latents

        start_runtime()
        began = perf_counter()
        reports = cache_latents(folder, resolved, ranks=ranks, progress=_tell)
        made = sum(report.shards_computed for report in reports)
        kept = sum(report.shards_kept for report in reports)
        typer.echo(
            f"rank {ranks.rank} of {ranks.size}: made {made} shards, kept {kept}, "
            f"{perf_counter() - began:.0f} s"
        )
        if ranks.rank == 0 and not all(report.complete for report in reports):
            typer.echo("other ranks are still at work; `prediff cache info` shows how far")


@cache_app.command("info")
def info(name: NameOption = "tiny") -> None:
    """Show what is in the store of a run, how much of it, and who is building.

    Example: prediff cache info --name first
    """
    table = Table(
        Column("group", no_wrap=True), "events", "frame", "shards", "MB", "autoencoder", "builders"
    )
    for group in _groups(name):
        found = describe_group(group)
        layout = found.layout
        table.add_row(
            f"{layout.dataset}/{layout.variant}",
            str(layout.num_events),
            " x ".join(str(size) for size in layout.latent_shape),
            f"{found.shards_present}/{layout.num_shards}",
            f"{found.bytes_present / 1e6:.1f}",
            layout.vae_sha256[:12],
            ", ".join(builder.describe() for builder in found.builders) or "none",
        )
    Console().print(table)


@cache_app.command("verify")
def verify(
    name: NameOption = "tiny",
    repair: Annotated[
        bool, typer.Option("--repair", help="delete damaged shards and encode them again")
    ] = False,
) -> None:
    """Read every byte of the store and compare it with the sums of its builder.

    Ends with code 1 if something is missing or damaged and was not repaired.

    Example: prediff cache verify --name first --repair
    """
    damaged = 0
    for group in _groups(name):
        check = verify_group(group)
        problems = [
            *check.documents,
            *(f"shard {shard}: {damage}" for shard, damage in check.shards.items()),
        ]
        for problem in problems:
            typer.echo(f"{group}: {problem}")
        damaged += len(problems)
        if repair:
            drop_damaged(check)
    if not damaged:
        typer.echo("every shard is whole")
    elif repair:
        latents(config=None, data=None, name=name, set_=None)
    else:
        typer.echo(f"{damaged} problems: `prediff cache verify --repair --name {name}` repairs")
        raise typer.Exit(DAMAGED)


def _check_latents(folder: RunFolder, config: Config) -> None:
    from prediff.check import check_prerequisites, check_settings
    from prediff.data.open_data import open_split

    check_settings(config)
    check_prerequisites(folder, config, does={"latents"})
    open_split(folder, config, "all").close()


def _groups(name: str) -> list[Path]:
    store = existing_run(name, what="--name").latents
    groups = list_groups(store)
    if not groups:
        raise UserError(f"{store} holds no latents: run `prediff cache latents --name {name}`")
    return groups


def _tell(progress: BuildProgress) -> None:
    left = "" if progress.eta_seconds is None else f", {progress.eta_seconds:.0f} s left"
    typer.echo(
        f"{progress.frames_done}/{progress.frames_total} frames, "
        f"{progress.shards_done}/{progress.shards_total} shards, "
        f"{progress.frames_per_second:.0f} frames/s{left}"
    )
