"""`prediff profile` as a user types it, in two processes, on a network of a few channels."""

import json
import os
import subprocess
import sys

import pytest

from prediff.profiler.record import read_report

SMALL = (
    "data.frame_size=16",
    "data.forecast_frames=2",
    "autoencoder.latent_channels=2",
    "autoencoder.widths=[8,8]",
    "alignment.depths=[1]",
    "alignment.base_width=8",
    "train_alignment.global_batch=4",
)


def profile(folder, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "prediff", "profile", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


@pytest.mark.alone
def test_two_ranks_are_profiled_and_the_report_is_whole(tmp_path):
    settings = [text for each in SMALL for text in ("--set", each)]
    done = profile(tmp_path, "--stage", "alignment", "--name", "pair", "--workers", "2", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    report = read_report(tmp_path / "reports" / "pair")
    assert [rank.rank for rank in report.ranks] == [0, 1]
    assert all(rank.typical().communication > 0 for rank in report.ranks)
    assert 0 < report.mfu < 1
    assert len(report.losses) >= 3
    phases = report.ranks[0].compile_phases
    assert 0 < sum(phases.values()) <= report.ranks[0].compile_seconds
    assert max(phases, key=phases.get).startswith("frontend")
    timed = {work.module: work.seconds for work in report.modules}
    assert timed["entry.projection.conv_1"] > 0
    assert timed["down_levels.0.stacks.0.attentions.1.qkv"] > 0
    assert (tmp_path / "reports" / "pair" / "index.html").exists()
    traces = list((tmp_path / "reports" / "pair" / "traces").rglob("trace_view.json"))
    assert len(traces) == 2
    assert json.loads(traces[0].read_text())
    assert "MFU" in done.stdout


def test_an_unknown_stage_and_an_unknown_run_are_refused_in_one_line(tmp_path):
    for arguments, message in (
        (("--stage", "dance"), "error: --stage 'dance' is unknown"),
        (("--run", "nix"), "error: no run nix in runs/"),
    ):
        done = profile(tmp_path, *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1
