"""The subcommand that explains the configuration, and shows a run's."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from hpc.errors import UserError
from prediff.commands.options import ConfigOption, SetOption


def config(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="show keys that hold all of these words"),
    ] = None,
    config: ConfigOption = None,
    name: Annotated[
        str | None, typer.Option("--name", help="show the values of this run, not the defaults")
    ] = None,
    set_: SetOption = None,
) -> None:
    """Explain every key: its value, what it may be, what it means.

    Example: prediff config learning rate

    Example: prediff config --name first forecast
    """
    from prediff.config import load_config
    from prediff.config.described import described_keys
    from prediff.run_folder import find_run

    path: Path | None = config if name is None else find_run(name).config
    values = load_config(path, set_ or ()).model_dump(mode="json")
    wanted = [word.lower() for word in words or ()]
    found = [
        key
        for key in described_keys()
        if all(word in f"{key.name} {key.meaning}".lower() for word in wanted)
    ]
    if not found:
        raise UserError(f"no key with {' '.join(words or ())}: `prediff config` lists all")
    console = Console(highlight=False)
    section = ""
    for key in found:
        if key.name.split(".")[0] != section:
            section = key.name.split(".")[0]
            console.print(Text(f"\n{section}", style="bold"))
        value = values
        for part in key.name.split("."):
            value = value[part]
        shown = "null" if value is None else str(value).lower() if value in (True, False) else value
        # What one copies stays whole on a line of its own.
        console.print(f"{key.name}={shown}", soft_wrap=True, markup=False)
        console.print(
            Text(f"    {key.meaning} ({key.allowed}; default {key.default})", style="dim")
        )
