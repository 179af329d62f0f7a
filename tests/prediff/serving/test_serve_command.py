"""The service as a process: killed in the middle, started again, asked to stop."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from radar_files import START, radar_file, radar_frames
from typer.testing import CliRunner
from untrained_run import untrained_run

from hpc.errors import UserError
from prediff.cli import app
from prediff.forecasting.file import read_forecast

MINUTES = 10
COMMAND = [sys.executable, "-m", "prediff", "serve", "--port", "0"]


def wait_for(is_there, *, process, seconds=240):
    deadline = time.monotonic() + seconds
    while not is_there():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "the service does not come"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_killed_service_goes_on_and_a_stopped_one_ends_well(tmp_path):
    run = untrained_run(tmp_path / "runs" / "small")[0].path
    incoming, out = tmp_path / "in", tmp_path / "out"
    incoming.mkdir()

    def start():
        return subprocess.Popen(
            [*COMMAND, str(run), "--watch", str(incoming), "--out", str(out), "--poll", "0.1"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def arrive(number):
        frames = radar_frames(1, start=START + number * MINUTES * 60 * 10**9, seed=number)
        aside = radar_file(incoming / f".{number}.nc", frames)
        aside.rename(incoming / f"{number}.nc")

    def made():
        return sorted(out.glob("forecast_*.nc"))

    for number in range(3):
        arrive(number)
    service = start()
    wait_for(lambda: len(made()) == 1, process=service)
    for number in range(3, 9):
        arrive(number)
    wait_for(lambda: len(made()) >= 2, process=service)
    service.kill()
    service.wait()
    arrive(9)
    service = start()
    wait_for(lambda: len(made()) == 8, process=service)
    service.send_signal(signal.SIGTERM)
    said, _ = service.communicate(timeout=120)
    assert service.returncode == 0
    assert said.rstrip().endswith("stopped")
    lines = [json.loads(line) for line in (out / "quality.jsonl").read_text().splitlines()]
    assert sorted(line["file"] for line in lines) == [path.name for path in made()]
    for path in made():
        ensemble, attributes = read_forecast(path)
        assert ensemble.shape == (3, 2, 16, 16)
        assert attributes["Conventions"] == "CF-1.7"
    assert "prediff_healthy 0.0" in (out / "metrics.prom").read_text()
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_bad_input_of_the_service_is_refused_in_one_line(tmp_path):
    def refused(*words):
        with pytest.raises(UserError) as caught:
            CliRunner().invoke(app, ["serve", *map(str, words)], catch_exceptions=False)
        return str(caught.value)

    assert "to watch" in refused("run", "--watch", tmp_path / "absent")
    file = tmp_path / "file"
    file.write_text("")
    assert "cannot be written" in refused("run", "--watch", tmp_path, "--out", file / "below")
    assert "no run at" in refused(tmp_path / "none", "--watch", tmp_path, "--out", tmp_path / "o")
    assert not os.listdir(tmp_path / "o")
