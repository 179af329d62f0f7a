"""Options that several subcommands share."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="YAML file [default: the run's own, else the tiny one]", show_default=False
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="SEVIR-LR tree [default: synthetic storms]", show_default=False),
]
NameOption = Annotated[str, typer.Option("--name", help="the run lives in runs/NAME")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value, may be repeated", show_default=False),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="until another start of this run has ended")
]
ResumeOption = Annotated[
    str,
    typer.Option(
        "--resume",
        help="auto (the newest whole checkpoint), none (the first step), or a step_* folder",
    ),
]
