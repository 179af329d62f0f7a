"""The newcomer's command, small: all stages in two processes, and again."""

import json
import re
import subprocess
import time
import urllib.request

import pytest
from small_job import msrun_8p

pytestmark = pytest.mark.alone


def test_the_job_ends_with_scores_and_says_where_things_are(finished):
    folder, job = finished
    assert "fair CRPS" in job.stdout
    assert "persistence" in job.stdout
    assert "tensorboard --logdir runs" in job.stdout
    run = folder / "runs" / "first"
    for made in (
        "config.yaml",
        "data/CATALOG.csv",
        "autoencoder/checkpoints/step_00000004/model.safetensors",
        "diffusion/checkpoints/step_00000004/ema.safetensors",
        "evaluation/report.html",
        "evaluation/scores.csv",
        "log/rank_0.log",
        "log/rank_1.log",
    ):
        assert (run / made).exists(), made
    assert len(list((run / "forecast").glob("*.nc"))) == 2
    assert len(list((run / "evaluation").glob("*.gif"))) == 2


def test_rank_0_shows_progress(finished):
    _, job = finished
    assert re.search(r"diffusion  step 4/4  loss \S+ .*samples/s  MFU \S+ %", job.stdout)
    assert "compiled" in job.stdout


def test_a_second_run_of_the_finished_job_is_quick_and_trains_nothing(finished):
    folder, _ = finished
    before = (folder / "runs/first/diffusion/checkpoints/step_00000004/manifest.json").stat()
    began = time.monotonic()
    job = msrun_8p(folder, "--name", "first")
    assert job.returncode == 0, job.stderr
    assert time.monotonic() - began < 60
    assert "fair CRPS" in job.stdout
    after = (folder / "runs/first/diffusion/checkpoints/step_00000004/manifest.json").stat()
    assert after.st_mtime_ns == before.st_mtime_ns


def test_tensorboard_shows_the_runs_curves(finished):
    folder, _ = finished
    port = 16006
    board = subprocess.Popen(
        ["tensorboard", "--logdir", "runs", "--port", str(port), "--host", "127.0.0.1"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        runs = _answer(f"http://127.0.0.1:{port}/data/runs", lambda found: len(found) >= 3)
        assert {"first/autoencoder", "first/diffusion", "first/evaluation"} <= set(runs)
        tags = _answer(f"http://127.0.0.1:{port}/data/plugin/scalars/tags", bool)
        wanted = {
            "loss/training",
            "loss/validation",
            "optimizer/learning_rate",
            "optimizer/grad_norm",
            "speed/samples_per_second",
            "speed/mfu",
            "speed/compile_seconds",
            "time/goodput",
            "validation/loss",
        }
        for task in ("autoencoder", "diffusion"):
            assert wanted <= set(tags[f"first/{task}"])
        images = _answer(f"http://127.0.0.1:{port}/data/plugin/images/tags", bool)
        assert any(tag.startswith("pictures/") for tag in images["first/evaluation"])
        assert "pictures/forecast_0" in images["first/diffusion"]
    finally:
        board.terminate()
        board.wait(timeout=30)


def test_a_finished_run_refuses_another_configuration(finished):
    folder, _ = finished
    job = msrun_8p(folder, "--name", "first", "--set", "denoiser.base_width=16")
    assert job.returncode == 2
    assert "made with another configuration: denoiser.base_width: 8 -> 16" in job.stderr


def _answer(url: str, is_there):
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                found = json.load(response)
            if is_there(found):
                return found
        except OSError:
            pass
        assert time.monotonic() < deadline, f"{url} did not answer"
        time.sleep(0.5)
