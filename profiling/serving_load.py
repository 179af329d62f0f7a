"""Play days of radar into a service, with everything that goes wrong, and measure it.

    python -m profiling serving-load --hours 72 --speed 100 --kills 3
    python -m profiling serving-load --run first --hours 1 --speed 20

A frame every cadence, played faster: some never come, some come twice, late, in the wrong order,
or half-written first; the service is killed and started again. At the end every time whose whole
context came must have exactly one whole forecast. Without --run the run is a small one that
learned nothing. Prints a table of latencies and of memory; exit code 1 if an output is missing,
double or damaged.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
import xarray as xr

from hpc.durable_files import move_durably
from hpc.errors import UserError
from prediff.config import load_config
from prediff.forecasting.file import read_forecast
from prediff.run_folder import find_run

START = np.datetime64("2020-06-01T00:00", "ns")
SETTLE_SECONDS = 60
COMMAND = [sys.executable, "-m", "prediff", "serve", "--poll", "0.2", "--port", "-1"]


@dataclass(frozen=True)
class Event:
    """What happens to one frame.

    Attributes:
        at: steps after the start when its file arrives, not whole for what comes out of order.
        number: of the frame.
        truncated: it stands there half-written for half a step first.
    """

    at: float
    number: int
    truncated: bool = False


@dataclass
class Outcome:
    """What a simulation found."""

    expected: int = 0
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    forecast_seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.missing and not self.damaged


def plan(*, frames: int, seed: int) -> list[Event]:
    """Return what arrives when: of 100 frames two never, two late, two twice, two half-written."""
    random = np.random.default_rng(seed)
    events = []
    for number in range(frames):
        kind = random.choice(
            ["gap", "late", "twice", "reordered", "truncated", "plain"],
            p=[0.02, 0.02, 0.02, 0.02, 0.02, 0.9],
        )
        if kind == "gap":
            continue
        delay = {"late": 3.5, "reordered": 1.3}.get(kind, 0.0)
        events.append(Event(number + delay, number, truncated=kind == "truncated"))
        if kind == "twice":
            events.append(Event(number + 0.5, number))
    return sorted(events, key=lambda event: event.at)


def frame_of(number: int, *, size: int, minutes: float) -> xr.Dataset:
    """Return a made-up frame: rain that moves a pixel a step."""
    values = np.random.default_rng(7).integers(0, 200, (1, size, size)).astype(np.float32)
    metres = (np.arange(size) + 0.5) * 1000
    at = START + np.timedelta64(round(number * minutes * 60), "s")
    return xr.DataArray(
        np.roll(values, number, axis=2),
        dims=("time", "y", "x"),
        coords={
            "time": [at],
            "y": ("y", metres, {"units": "m", "standard_name": "projection_y_coordinate"}),
            "x": ("x", metres, {"units": "m", "standard_name": "projection_x_coordinate"}),
        },
        name="vil_code",
    ).to_dataset()


class Player:
    """Writes frames into the folder as a radar's computer does: aside, then renamed."""

    def __init__(self, folder: Path, *, size: int, minutes: float) -> None:
        self._folder, self._size, self._minutes = folder, size, minutes
        self._count = 0

    def play(self, event: Event, *, half: float) -> None:
        """Let one frame arrive; a truncated one stands half-written for `half` seconds first."""
        self._count += 1
        path = self._folder / f"radar_{event.number:06d}_{self._count:06d}.nc"
        aside = path.with_name(f".{path.name}")
        frame_of(event.number, size=self._size, minutes=self._minutes).to_netcdf(aside)
        if event.truncated:
            content = aside.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            time.sleep(half)
        move_durably(aside, path)


def start(run: Path, watch: Path, out: Path, *, deadline: float) -> subprocess.Popen[bytes]:
    """Start the service, as systemd would."""
    log = (out.parent / "service.log").open("ab")
    return subprocess.Popen(
        [*COMMAND, str(run), "--watch", str(watch), "--out", str(out), "--deadline", str(deadline)],
        stdout=log,
        stderr=log,
    )


def simulate(
    run: Path, *, hours: float, speed: float, kills: int, seed: int, folder: Path
) -> Outcome:
    """Play the frames, kill the service, and compare what came out with what must.

    Raises:
        UserError: the service does not start.
    """
    config = load_config(run / "config.yaml")
    minutes = _cadence(run)
    size, context = config.data.frame_size, config.data.context_frames
    watch, out = folder / "in", folder / "out"
    watch.mkdir(parents=True)
    out.mkdir()
    frames = round(hours * 60 / minutes)
    step = minutes * 60 / speed
    events = plan(frames=frames, seed=seed)
    player = Player(watch, size=size, minutes=minutes)
    kill_at = [len(events) * (number + 1) // (kills + 1) for number in range(kills)]
    service = start(run, watch, out, deadline=step)
    _wait_until_ready(folder / "service.log", service)
    found = Outcome()
    began = time.monotonic()
    for number, event in enumerate(events):
        time.sleep(max(0.0, began + event.at * step - time.monotonic()))
        player.play(event, half=step / 2)
        if number in kill_at:
            service.kill()
            service.wait()
            service = start(run, watch, out, deadline=step)
        if service.poll() is None:
            found.memory.append(psutil.Process(service.pid).memory_info().rss / 1e6)
    came = {event.number for event in events}
    expected = {
        number for number in range(frames) if set(range(number - context + 1, number + 1)) <= came
    }
    found.expected = len(expected)
    _wait_for(out, count=len(expected))
    service.terminate()
    service.wait(timeout=120)
    _compare(found, out, expected, minutes=minutes)
    return found


def _cadence(run: Path) -> float:
    from prediff.forecasting.forecaster import trained_cadence
    from prediff.run_folder import RunFolder

    cadence = trained_cadence(RunFolder(run), load_config(run / "config.yaml"))
    if cadence is None:
        raise UserError(f"the cadence of {run} is not known")
    return cadence


def _wait_until_ready(log: Path, service: subprocess.Popen[bytes]) -> None:
    while "ready after" not in (log.read_text() if log.exists() else ""):
        if service.poll() is not None:
            raise UserError(f"the service did not start: {log.read_text()[-500:]}")
        time.sleep(0.2)


def _wait_for(out: Path, *, count: int) -> None:
    until = time.monotonic() + SETTLE_SECONDS
    while len(list(out.glob("forecast_*.nc"))) < count and time.monotonic() < until:
        time.sleep(0.2)


def _compare(found: Outcome, out: Path, expected: set[int], *, minutes: float) -> None:
    names = set()
    for number in sorted(expected):
        at = START + np.timedelta64(round(number * minutes * 60), "s")
        label = str(at.astype("datetime64[s]")).replace("-", "").replace(":", "")
        names.add(f"forecast_{label}Z.nc")
    there = {path.name for path in out.glob("forecast_*.nc")}
    found.missing = sorted(names - there)
    for name in sorted(there):
        try:
            read_forecast(out / name)
        except UserError:
            found.damaged.append(name)
    lines = [json.loads(line) for line in (out / "quality.jsonl").read_text().splitlines()]
    described = [line["file"] for line in lines]
    odd = there - names | {name for name in described if described.count(name) != 1}
    found.damaged += sorted(odd | (there - set(described)))
    found.latencies = [line["latency_seconds"] for line in lines if line.get("in_order")]
    found.forecast_seconds = [line["forecast_seconds"] for line in lines if "time" in line]


def report(found: Outcome) -> str:
    """Return the outcome as a Markdown table."""

    def percentiles(values: list[float]) -> str:
        marks = np.percentile(values, (50, 90, 99, 100)) if values else [float("nan")] * 4
        return " | ".join(f"{mark:.2f}" for mark in marks)

    settled = found.memory[len(found.memory) // 3 :] or [float("nan")]
    return "\n".join(
        [
            "| | 50 % | 90 % | 99 % | most |",
            "|---|---:|---:|---:|---:|",
            f"| frame's file to forecast's, s | {percentiles(found.latencies)} |",
            f"| networks alone, s | {percentiles(found.forecast_seconds)} |",
            f"| memory, MB | {percentiles(found.memory)} |",
            "",
            f"{found.expected} complete contexts, {len(found.missing)} without a forecast, "
            f"{len(found.damaged)} damaged or double; memory from {min(settled):.0f} to "
            f"{max(settled):.0f} MB after the first third.",
        ]
    )


def main(
    *,
    run: Annotated[
        str | None, typer.Option(help="a trained run [default: a small one that learned nothing]")
    ] = None,
    hours: Annotated[float, typer.Option(help="of radar")] = 1.0,
    speed: Annotated[float, typer.Option(help="times faster than it came")] = 100.0,
    kills: int = 1,
    seed: int = 0,
) -> None:
    with tempfile.TemporaryDirectory(prefix="prediff-serving-") as name:
        folder = Path(name)
        if run:
            path = find_run(run).path
        else:
            sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "prediff"))
            from untrained_run import untrained_run

            path = untrained_run(folder / "runs" / "small")[0].path
        found = simulate(
            path,
            hours=hours,
            speed=speed,
            kills=kills,
            seed=seed,
            folder=folder / "site",
        )
        print(report(found))
        for name in found.missing + found.damaged:
            print(f"not as it should be: {name}", file=sys.stderr)
    if not found.ok:
        raise typer.Exit(1)
