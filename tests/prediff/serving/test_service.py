"""A service gives every complete context exactly one forecast, whatever the order and the kills."""

import json
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from radar_files import START, radar_file, radar_frames

from hpc.errors import UserError
from prediff.forecasting.file import centred_grid, forecast_dataset
from prediff.forecasting.input import read_frames
from prediff.serving.http import HttpSide
from prediff.serving.inbox import Inbox
from prediff.serving.outbox import Outbox, time_label
from prediff.serving.service import Limits, Service
from prediff.serving.window import Frame, FrameWindow

CONTEXT, CADENCE = 3, 10
MINUTE = np.timedelta64(60, "s")


def instant_forecast(context: xr.DataArray) -> xr.Dataset:
    """What the networks would do, in no time: the last frame, twice, as two members."""
    size = context.sizes["x"]
    last = np.broadcast_to(context.values[-1] / 255, (2, 2, size, size)).astype(np.float32)
    return forecast_dataset(
        last,
        minutes=CADENCE,
        init_time=context["time"].values[-1],
        grid=centred_grid(height=size, width=size, pixel_metres=1000),
        attributes={},
    )


class Clock:
    def __init__(self) -> None:
        self.now = 1.8e9

    def __call__(self) -> float:
        return self.now


class Site:
    """A watched folder, a folder of forecasts, and a service that can be killed and started."""

    def __init__(self, folder: Path) -> None:
        self.incoming, self.out = folder / "in", folder / "out"
        self.incoming.mkdir()
        self.clock, self.said = Clock(), []
        self.forecast = instant_forecast
        self.start()

    def start(self) -> None:
        self.outbox = Outbox(self.out)
        self.service = Service(
            inbox=Inbox(
                self.incoming,
                read=read_frames,
                oldest_seconds=6 * 3600,
                patience=2,
                clock=self.clock,
            ),
            window=FrameWindow(context=CONTEXT, cadence_minutes=CADENCE, kept=12),
            outbox=self.outbox,
            forecast=lambda context: self.forecast(context),
            limits=Limits(deadline_seconds=60, stale_seconds=1500),
            say=self.said.append,
            clock=self.clock,
        )

    def arrive(self, *numbers: int, name: str = "frame") -> None:
        for number in numbers:
            path = self.incoming / f"{name}_{number:03d}.nc"
            radar_file(path, radar_frames(1, start=START + number * CADENCE * MINUTE, seed=number))
            os.utime(path, (self.clock.now, self.clock.now))

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.clock.now += 1
            self.service.work()

    def forecasts(self) -> list[int]:
        """Numbers of the last frames of all forecasts."""
        found = []
        for path in sorted(self.out.glob("forecast_*.nc")):
            with xr.open_dataset(path) as dataset:
                time = dataset["forecast_reference_time"].values
            assert path.name == f"forecast_{time_label(time)}.nc"
            found.append(int((time - START) / (CADENCE * MINUTE)))
        return found

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in (self.out / "quality.jsonl").read_text().splitlines()]

    def metric(self, name: str, **labels: str) -> float:
        return self.service.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_every_complete_context_gets_one_file_and_one_line(site):
    for number in range(5):
        site.arrive(number)
        site.look()
    assert site.forecasts() == [2, 3, 4]
    assert [line["file"] for line in site.lines()] == sorted(p.name for p in site.out.glob("*.nc"))
    assert all(line["deadline_met"] and line["in_order"] for line in site.lines())
    assert site.lines()[0]["members"] == 2
    assert site.service.health.state == "ok"


def test_late_frames_fill_a_gap_and_make_what_was_missing(site):
    site.arrive(0, 1, 3, 4)
    site.look()
    assert site.forecasts() == []
    assert any("2 of 3" in text or "1 of 3" in text for text in site.said)
    site.arrive(2)
    site.look()
    assert site.forecasts() == [2, 3, 4]
    assert [line["in_order"] for line in site.lines()] == [True, False, False]
    assert site.metric("prediff_frames_total", outcome="late") == 1


def test_reordered_and_repeated_frames_make_nothing_twice(site):
    site.arrive(2, 0, 1)
    site.look()
    before = {path: path.stat().st_mtime_ns for path in site.out.glob("*.nc")}
    site.arrive(1, name="again")
    site.look()
    assert site.forecasts() == [2]
    assert {path: path.stat().st_mtime_ns for path in site.out.glob("*.nc")} == before
    assert site.metric("prediff_frames_total", outcome="duplicate") == 1
    assert len(site.lines()) == 1


def test_a_truncated_file_waits_is_refused_and_is_taken_when_it_is_mended(site):
    site.arrive(0, 1, 2)
    path = site.incoming / "frame_002.nc"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    os.utime(path, (site.clock.now, site.clock.now))
    site.look(2)
    assert site.metric("prediff_files_refused_total") == 0  # it may still be written
    site.look(4)
    assert site.metric("prediff_files_refused_total") == 1
    assert any(text.startswith("ALARM frame_002.nc left out") for text in site.said)
    path.write_bytes(whole)
    os.utime(path, (site.clock.now, site.clock.now))
    site.look(2)
    assert site.forecasts() == [2]


def test_a_kill_at_any_moment_leaves_one_whole_output_each(site):
    site.arrive(0, 1, 2, 3)
    site.look()
    lines = (site.out / "quality.jsonl").read_text()
    (site.out / "quality.jsonl").write_text(lines[:-20])  # torn by the kill
    partial = site.out / f".forecast_{time_label(START + 40 * MINUTE)}.nc.0-1-1-ab.aside"
    partial.write_bytes(b"half")
    site.arrive(4)
    site.start()
    site.look()
    assert site.forecasts() == [2, 3, 4]
    assert sorted(line["file"] for line in site.lines()) == sorted(
        path.name for path in site.out.glob("*.nc")
    )
    assert not partial.exists()
    assert sum(line.get("recovered", False) for line in site.lines()) == 1


def test_silence_is_an_alarm_and_ends_with_the_next_frame(site):
    site.arrive(0, 1, 2)
    site.look()
    site.clock.now += 1600
    site.look(3)
    assert site.service.health.state == "stale"
    assert sum("no new frame" in text for text in site.said) == 1
    site.arrive(3)
    site.look()
    assert site.service.health.ok


def test_a_slow_forecast_misses_its_deadline_and_says_so(site):
    def slow(context):
        site.clock.now += 70
        return instant_forecast(context)

    site.forecast = slow
    site.arrive(0, 1, 2)
    site.look()
    assert site.metric("prediff_deadlines_missed_total") == 1
    assert not site.lines()[0]["deadline_met"]


def test_a_folder_that_vanishes_is_waited_for(site):
    site.arrive(0, 1)
    site.look()
    site.incoming.rename(site.incoming.with_name("elsewhere"))
    site.look(3)
    assert site.service.health.state == "folder gone"
    assert sum("watched folder is gone" in text for text in site.said) == 1
    site.incoming.with_name("elsewhere").rename(site.incoming)
    site.arrive(2)
    site.look()
    assert site.forecasts() == [2]


def test_a_full_disk_is_waited_out_and_nothing_is_lost(site, monkeypatch):
    def full(path, dataset):
        raise UserError("no room left on the device")

    site.arrive(0, 1, 2)
    with monkeypatch.context() as patched:
        patched.setattr("prediff.serving.outbox.write_dataset", full)
        site.look()
        assert site.service.health.state == "cannot write"
    site.look(8)
    assert site.forecasts() == [2]
    assert site.service.health.state == "ok"


def test_a_frame_that_cannot_be_forecast_does_not_stop_the_next(site):
    def picky(context):
        if context["time"].values[-1] == START + 20 * MINUTE:
            raise UserError("frame has no valid pixel")
        return instant_forecast(context)

    site.forecast = picky
    site.arrive(0, 1, 2, 3)
    site.look(4)
    assert site.forecasts() == [3]
    assert sum("no valid pixel" in text for text in site.said) == 1


def test_memory_is_bounded_over_many_frames(site):
    for number in range(60):
        site.arrive(number)
        site.look(1)
        for old in site.incoming.glob(f"frame_{number - 5:03d}.nc"):
            old.unlink()
    assert len(site.service._window) <= 12
    assert len(site.service._inbox) <= 6
    assert site.forecasts() == list(range(2, 59))


def test_a_window_takes_jitter_and_refuses_other_grids():
    window = FrameWindow(context=2, cadence_minutes=5, kept=4)
    frame = Frame(xr.DataArray(np.zeros((2, 2)), dims=("y", "x")), 0.0)
    assert window.add(START, frame) == "new"
    assert window.add(START + np.timedelta64(307, "s"), frame) == "new"
    assert window.complete() == [START + 5 * MINUTE]
    assert window.add(START + 7 * MINUTE, frame) == "off grid"
    assert window.add(START + 40 * MINUTE, frame) == "new"
    assert window.add(START + 5 * MINUTE, frame) == "too old"
    assert len(window) == 1


def get(port: int, path: str, method: str = "GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_http_answers_health_metrics_and_forecasts_and_nothing_else(site, tmp_path):
    (tmp_path / "out" / "forecast_secret.nc").write_bytes(b"secret")
    service = site.service
    with HttpSide(
        host="127.0.0.1", port=0, health=service.health, metrics=service.metrics, outbox=site.outbox
    ) as http:
        assert get(http.port, "/health")[0] == 503
        assert get(http.port, "/forecast")[0] == 404
        site.arrive(0, 1, 2)
        site.look()
        status, body = get(http.port, "/health")
        assert (status, json.loads(body)["state"]) == (200, "ok")
        label = time_label(START + 20 * MINUTE)
        newest = site.outbox.path(START + 20 * MINUTE).read_bytes()
        assert get(http.port, "/forecast") == (200, newest)
        assert get(http.port, f"/forecast?time={label}") == (200, newest)
        assert b"prediff_forecasts_total 1.0" in get(http.port, "/metrics")[1]
        for path in ("/forecast?time=../../etc/passwd", "/forecast?time=secret"):
            assert get(http.port, path)[0] == 400
        for path in ("/../quality.jsonl", "/quality.jsonl", "/%2e%2e/in"):
            assert get(http.port, path)[0] == 404
        assert get(http.port, "/forecast?time=20000101T000000Z")[0] == 404
        assert get(http.port, "/forecast", method="POST")[0] == 405
        with pytest.raises(UserError, match="choose --port"):
            HttpSide(
                host="127.0.0.1",
                port=http.port,
                health=service.health,
                metrics=service.metrics,
                outbox=site.outbox,
            )


def test_a_stop_ends_the_loop_and_the_metrics_are_on_disk(site):
    site.arrive(0, 1, 2)
    site.look()
    stop = threading.Event()
    stop.set()
    site.service.run(stop, poll_seconds=0.1)
    text = (site.out / "metrics.prom").read_text()
    assert "prediff_forecasts_total 1.0" in text
    assert site.service.health.state == "stopping"
