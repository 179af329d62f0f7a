"""Subcommands that hand a trained model on, and take one."""

from pathlib import Path
from typing import Annotated

import typer

from prediff.commands.options import SetOption
from prediff.names import check_name


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a run's folder, or its name")],
    out: Annotated[Path, typer.Option("--out", help="folder to make")],
    set_: SetOption = None,
    key: Annotated[
        Path | None, typer.Option("--sign", metavar="KEY", help="SSH key that signs the model")
    ] = None,
) -> None:
    """Write a run's networks as one folder with settings, model card and SHA-256.

    `prediff forecast --checkpoint`, `prediff serve`, `prediff import` and the Python API take the
    folder; one changed byte is refused.

    Example: prediff export first --out first-model
    """
    from prediff.config import load_config
    from prediff.exchange.travel import export_model
    from prediff.run_folder import find_run

    folder = find_run(run)
    export_model(folder, load_config(folder.config, set_ or ()), out=out, key=key)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    typer.echo(f"{out}: {size / 1e6:.1f} MB; its card is {out / 'README.md'}")


def import_(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER", help="an export, or hf:OWNER/NAME@REV")
    ],
    name: Annotated[str, typer.Option("--name", help="of the run to make")],
    signers: Annotated[
        Path | None,
        typer.Option("--signers", help="trusted keys, one of which must have signed the model"),
    ] = None,
) -> None:
    """Make an exported model a run, after every byte of it was checked.

    With --signers also who made it: lines of a name and a public SSH key.

    Example: prediff import first-model --name taken
    """
    from prediff.exchange.travel import import_model
    from prediff.hub import fetch, is_hub_name

    check_name(name, what="--name")
    folder = fetch(source) if is_hub_name(source) else Path(source)
    made = import_model(folder, name=name, signers=signers)
    typer.echo(f"{made.path}: checked and copied; `prediff forecast --checkpoint {name}` uses it")
