"""The subcommand that forecasts: a run's test windows, or frames that a user has."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from hpc.errors import UserError
from prediff.commands.options import ConfigOption, DataOption, NameOption, SetOption
from prediff.commands.run import open_command, work


def forecast(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="RUN", help="a run's folder or name, with --input"),
    ] = None,
    input_: Annotated[
        Path | None,
        typer.Option("--input", help="radar frames: .nc, .zarr, or .h5 of a SEVIR tree"),
    ] = None,
    latest: Annotated[
        Path | None,
        typer.Option("--latest", metavar="FOLDER", help="take its newest .nc or .zarr frames"),
    ] = None,
    event: Annotated[
        str | None, typer.Option("--event", help="id or row, where a .h5 file holds several")
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option("--at", help="UTC time of the last frame, where the input has more"),
    ] = None,
    members: Annotated[int | None, typer.Option("--members", min=1)] = None,
    solver: Annotated[str | None, typer.Option("--solver", help="as forecast.solver")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="of the solver")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="forecast to write, .nc or .zarr")
    ] = None,
) -> None:
    """Forecast the run's test windows; with --input or --latest, frames of your own.

    Example: prediff forecast --name first --set forecast.ensemble_members=16

    Example: prediff forecast --checkpoint first --input radar.nc --members 32 --solver dpmpp
    --steps 20 --out forecast.nc
    """
    texts = list(set_ or ())
    given = {"ensemble_members": members, "solver": solver, "steps": steps}
    texts += [f"forecast.{key}={value}" for key, value in given.items() if value is not None]
    if input_ is None and latest is None:
        own = {"--checkpoint": checkpoint, "--event": event, "--at": at, "--out": out}
        alone = [option for option, value in own.items() if value is not None]
        if alone:
            raise UserError(f"{alone[0]} needs --input FILE or --latest FOLDER")
        work(*open_command(config, data, name, texts), names={"forecast"}, max_time=None)
        return
    if input_ is not None and latest is not None:
        raise UserError("--input and --latest exclude each other: choose one")
    if config is not None or data is not None:
        raise UserError(
            "--config and --data are for the forecasts of test windows: with --input or --latest "
            "the run's own configuration counts; change it with --set"
        )
    if out is None:
        raise UserError("--out is missing: where to write the forecast, .nc or .zarr")
    _forecast_file(
        run=checkpoint or Path(name),
        source=input_,
        latest=latest,
        event=event,
        at=at,
        overrides=texts,
        out=out,
    )


def _forecast_file(
    *,
    run: Path,
    source: Path | None,
    latest: Path | None,
    event: str | None,
    at: datetime | None,
    overrides: list[str],
    out: Path,
) -> None:
    from prediff.stages.forecast_file import check_suffix, write_dataset
    from prediff.stages.forecast_input import read_frames, read_newest_frames

    check_suffix(out)
    if source is not None:
        frames = read_frames(source, event=event)  # before the networks, which take seconds

    from prediff.forecaster import Forecaster

    forecaster = Forecaster(run, overrides=overrides)
    if latest is not None:
        if at is not None or event is not None:
            raise UserError("--latest takes the newest frames: leave --at and --event out")
        frames = read_newest_frames(latest, count=forecaster.context_frames)
    dataset = forecaster(frames, at=at, place=str(source or latest))
    if forecaster.cadence_minutes is None:
        typer.echo("the run's cadence is not known: that of the input was taken")
    dataset.attrs["input"] = str(source or latest)
    write_dataset(out, dataset)
    start = dataset["forecast_reference_time"].dt.strftime("%Y-%m-%d %H:%M").item()
    typer.echo(
        f"{out}: {dataset.sizes['realization']} members, {dataset.sizes['lead_time']} lead times "
        f"to {dataset['lead_time'].values[-1]:g} minutes after {start} UTC"
    )
