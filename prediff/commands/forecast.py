"""The subcommand that forecasts: a run's test windows, or frames that a user has."""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated

import typer

from hpc.cluster.job import log_folder
from hpc.cluster.marks import BAD_INPUT
from hpc.cluster.process_info import discover, is_worker
from hpc.cluster.rank_log import redirect_to_rank_log
from hpc.cluster.supervisor import launch
from hpc.errors import UserError
from prediff.commands.options import ConfigOption, DataOption, NameOption, SetOption
from prediff.commands.run import open_command, refuse_strangers, work
from prediff.config import setting

if TYPE_CHECKING:
    import xarray as xr


def forecast(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="RUN", help="a run's folder or name, with --input"),
    ] = None,
    starter: Annotated[
        bool, typer.Option("--starter", help="forecast with the packaged model, no run needed")
    ] = False,
    input_: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="radar frames: a file of any format, a .zarr, or a folder of single files",
        ),
    ] = None,
    latest: Annotated[
        Path | None,
        typer.Option("--latest", metavar="FOLDER", help="take its newest radar frames"),
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
    workers: Annotated[
        int,
        typer.Option(min=1, help="processes of this host that share the members, with --input"),
    ] = 1,
) -> None:
    """Forecast the run's test windows; with --input or --latest, frames of your own.

    Example: prediff forecast --name first --set forecast.ensemble_members=16

    Example: prediff forecast --checkpoint first --input radar.nc --members 32 --solver dpmpp
    --steps 20 --out forecast.nc

    Example: prediff forecast --starter --input radar.nc --out forecast.nc
    """
    texts = list(set_ or ())
    given = {"ensemble_members": members, "solver": solver, "steps": steps}
    texts += [
        setting(f"forecast.{key}", value) for key, value in given.items() if value is not None
    ]
    if input_ is None and latest is None:
        own = {
            "--checkpoint": checkpoint,
            "--starter": starter or None,
            "--event": event,
            "--at": at,
            "--out": out,
        }
        alone = [option for option, value in own.items() if value is not None]
        alone += ["--workers"] if workers > 1 else []
        if alone:
            raise UserError(f"{alone[0]} needs --input FILE or --latest FOLDER")
        opened = open_command(config, data, name, texts, does={"forecast"})
        work(*opened, names={"forecast"}, max_time=None)
        return
    if input_ is not None and latest is not None:
        raise UserError("--input and --latest exclude each other: choose one")
    if config is not None or data is not None:
        raise UserError(
            "--config and --data are for the forecasts of test windows: with --input or --latest "
            "the run's own configuration counts; change it with --set"
        )
    if starter and checkpoint is not None:
        raise UserError("--starter and --checkpoint exclude each other: choose one")
    if starter:
        from prediff.forecasting.starter import STARTER

        checkpoint = Path(STARTER)
    if out is None:
        raise UserError("--out is missing: where to write the forecast, .nc or .zarr")
    request = _Request(
        run=str(checkpoint or name),
        source=input_,
        latest=latest,
        event=event,
        at=at,
        overrides=texts,
        out=out,
    )
    refuse_strangers(discover(), instead="prediff forecast")
    if workers > 1 and not is_worker():
        request.launch(workers=workers)
    else:
        request.serve()


@dataclass(frozen=True)
class _Request:
    """Frames of the user's to forecast, as the command line says it."""

    run: str
    source: Path | None
    latest: Path | None
    event: str | None
    at: datetime | None
    overrides: list[str]
    out: Path

    def launch(self, *, workers: int) -> None:
        """Let several ranks of this host do it, under msrun."""
        self._read()  # a mistake costs no start of ranks
        options = {
            "--checkpoint": self.run,
            "--input": self.source,
            "--latest": self.latest,
            "--event": self.event,
            "--at": self.at,
            "--out": self.out,
        }
        given = [(option, str(value)) for option, value in options.items() if value is not None]
        given += [("--set", text) for text in self.overrides]
        logs = Path(mkdtemp(prefix="prediff-forecast-"))
        code = launch(
            ["prediff", "forecast", *(word for pair in given for word in pair)],
            workers=workers,
            log_dir=logs,
            stop_file=logs / "stop",
            port=None,
        )
        if code in (0, BAD_INPUT):
            shutil.rmtree(logs, ignore_errors=True)
        if code:
            raise typer.Exit(code)

    def serve(self) -> None:
        """Read, forecast and write; of several ranks the first one writes."""
        logs = log_folder()
        if logs is not None and is_worker():
            redirect_to_rank_log(logs, discover().rank)
        frames = self._read()  # before the networks, which take seconds

        from hpc.cluster.runtime import start_runtime
        from prediff.forecasting.file import write_dataset
        from prediff.forecasting.forecaster import Forecaster
        from prediff.forecasting.input import read_newest_frames
        from prediff.forecasting.starter import WARNING

        with start_runtime() as runtime:
            forecaster = Forecaster(self.run, overrides=self.overrides, runtime=runtime)
            if frames is None:
                assert self.latest is not None
                passed_over: list[str] = []
                frames = read_newest_frames(
                    self.latest,
                    count=forecaster.context_frames,
                    quantity=forecaster.quantity,
                    relation=forecaster.relation,
                    passed_over=passed_over,
                )
                if passed_over and runtime.is_first:
                    more = f" (and {len(passed_over) - 1} more)" if len(passed_over) > 1 else ""
                    typer.echo(f"passed over: {passed_over[0]}{more}", err=True)
            place = str(self.source or self.latest)
            dataset = forecaster(frames, at=self.at, place=place)
            if not runtime.is_first:
                return
            if WARNING in dataset.attrs:
                typer.echo(f"warning: {dataset.attrs[WARNING]}", err=True)
            if forecaster.cadence_minutes is None and not forecaster.is_starter:
                typer.echo("the run's cadence is not known: that of the input was taken")
            dataset.attrs["input"] = Path(place).name  # no path of this host
            if "input_converted" in dataset.attrs:
                typer.echo(f"{place}: converted, {dataset.attrs['input_converted']}")
            write_dataset(self.out, dataset)
            start = dataset["forecast_reference_time"].dt.strftime("%Y-%m-%d %H:%M").item()
            members, leads = dataset.sizes["realization"], dataset.sizes["lead_time"]
            typer.echo(
                f"{self.out}: {members} members, {leads} lead times "
                f"to {dataset['lead_time'].values[-1]:g} minutes after {start} UTC"
            )

    def _read(self) -> "xr.DataArray | None":
        """Return the input's frames, None where the newest of a folder are wanted."""
        from prediff.config import load_config
        from prediff.data.open_data import run_quantity, run_relation
        from prediff.forecasting.file import check_target
        from prediff.forecasting.input import read_frames
        from prediff.forecasting.starter import STARTER
        from prediff.run_folder import find_run

        check_target(self.out)
        if self.source is not None:
            if not self.source.exists():
                raise UserError(f"no radar file at {self.source}")
            if self.run == STARTER:
                return read_frames(self.source, event=self.event)
            config = load_config(find_run(self.run).config, self.overrides)
            return read_frames(
                self.source,
                event=self.event,
                quantity=run_quantity(config),
                relation=run_relation(config),
            )
        if self.at is not None or self.event is not None:
            raise UserError("--latest takes the newest frames: leave --at and --event out")
        return None
