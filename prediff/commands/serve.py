"""The subcommand that forecasts for as long as it is left alone."""

import signal
import threading
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hpc.cluster.process_info import discover
from hpc.errors import UserError
from prediff.commands.options import SetOption
from prediff.commands.run import refuse_strangers

DEFAULT_PORT = 8780


def serve(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a run's folder, or its name")],
    watch: Annotated[
        Path, typer.Option("--watch", metavar="FOLDER", help="where radar frames arrive")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder of forecasts [default: FOLDER-forecasts]"),
    ] = None,
    set_: SetOption = None,
    deadline: Annotated[
        float, typer.Option(min=0.1, help="seconds from a frame's file to its forecast's")
    ] = 60.0,
    stale: Annotated[
        float | None,
        typer.Option(min=1, help="minutes without a new frame [default: 2.5 cadences]"),
    ] = None,
    hours: Annotated[
        float, typer.Option(min=0.1, help="how old a frame may be and still be used")
    ] = 6.0,
    poll: Annotated[float, typer.Option(min=0.05, help="seconds between looks")] = 1.0,
    host: Annotated[
        str, typer.Option(help="address to answer on; others than loopback see all forecasts")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=-1, max=65535, help="of HTTP; 0: any free one, -1: none")
    ] = DEFAULT_PORT,
    once: Annotated[bool, typer.Option("--once", help="do what is there, and end")] = False,
) -> None:
    """Forecast whenever a new radar frame arrives in a folder, until it is stopped.

    Every time whose whole context is there gets one netCDF file and one line in quality.jsonl;
    /health, /metrics and /forecast answer over HTTP. SIGTERM and SIGINT let the forecast at hand
    finish. What a killed service missed, the next one makes.

    Example: prediff serve first --watch /data/incoming --out /data/forecasts
    """
    from contextlib import ExitStack

    from prediff.serving.outbox import Outbox

    refuse_strangers(discover(), instead="prediff serve")
    if not watch.is_dir():
        raise UserError(f"no folder {watch} to watch: make it, or name another with --watch")
    outbox = Outbox(out or watch.absolute().with_name(f"{watch.absolute().name}-forecasts"))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _say("loading the networks")

    from prediff.forecasting.forecaster import Forecaster
    from prediff.forecasting.input import read_frames
    from prediff.serving.http import HttpSide
    from prediff.serving.inbox import Inbox
    from prediff.serving.service import Limits, Service
    from prediff.serving.warm import warm_up
    from prediff.serving.window import FrameWindow

    with ExitStack() as resources:
        forecaster = Forecaster(run, overrides=set_ or ())
        cadence = forecaster.cadence_minutes
        if cadence is None:
            raise UserError(f"the cadence of run {run} is not known: train it on dated frames")
        kept = max(forecaster.context_frames, round(hours * 60 / cadence))
        service = Service(
            inbox=Inbox(
                watch,
                read=partial(
                    read_frames, quantity=forecaster.quantity, relation=forecaster.relation
                ),
                oldest_seconds=hours * 3600,
            ),
            window=FrameWindow(
                context=forecaster.context_frames, cadence_minutes=cadence, kept=kept
            ),
            outbox=outbox,
            forecast=lambda frames: forecaster(frames, place=str(watch)),
            limits=Limits(
                deadline_seconds=deadline,
                stale_seconds=60 * (2.5 * cadence if stale is None else stale),
            ),
            say=_say,
        )
        if port >= 0:
            http = HttpSide(
                host=host,
                port=port,
                health=service.health,
                metrics=service.metrics,
                outbox=outbox,
            )
            resources.enter_context(http)
            _say(f"answering on http://{host}:{http.port}/health")
        _say("compiling the networks")
        seconds = warm_up(forecaster)
        _say(f"ready after {seconds:.1f} s: watching {watch}, writing to {outbox.folder}")
        if once:
            for _ in range(2):  # a file is read when it no longer changes between two looks
                service.work(stop)
            service.metrics_to_file()
        else:
            service.run(stop, poll_seconds=poll)
            _say("stopped")


def _say(text: str) -> None:
    from datetime import UTC, datetime

    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}  {text}", flush=True)
