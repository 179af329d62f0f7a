"""The subcommand that measures whether guidance is obeyed."""

from typing import Annotated

import typer

from prediff.commands.options import ConfigOption, DataOption, NameOption, SetOption


def guidance(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    factors: Annotated[
        list[float] | None,
        typer.Option("--factor", min=0.0, help="of the source's intensity [default: 0.5 1 1.5 2]"),
    ] = None,
    cases: Annotated[int, typer.Option(min=1, help="test windows")] = 4,
) -> None:
    """Ask forecasts for several mean intensities and plot what they obtain.

    Example: prediff guidance --name first --factor 0.8 --factor 1.2 --cases 2
    """
    from hpc.cluster.runtime import start_runtime
    from prediff.forecasting.guidance_response import measure_response
    from prediff.run_folder import open_run

    folder, resolved = open_run(
        name=name, config=config, data=data, overrides=set_ or (), save=False, must_exist=True
    )
    with start_runtime():
        files = measure_response(
            folder, resolved, factors=factors or (0.5, 1.0, 1.5, 2.0), cases=cases, say=typer.echo
        )
    for file in files:
        typer.echo(str(file))
