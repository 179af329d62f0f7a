"""The tiny denoiser trains over MindSpore's Ascend back end as on the CPU, to rounding.

Three steps, the second with an infinite sample, dropout on; then an evaluation. The stand-in counts
what was launched and ends the process with code 86 if an operator is missing or misused.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from standin import environment

pytestmark = [pytest.mark.ascend, pytest.mark.slow]
PROGRAM = Path(__file__).parents[1] / "distributed" / "pipeline_equality.py"
LOSS_TOLERANCE, VALUE_TOLERANCE = 1e-6, 1e-5
"""Relative of a loss near 20; absolute of weights, moments and averages near 1."""


@pytest.fixture(scope="module")
def runs(standin_root, tmp_path_factory):
    """Train on both devices at once; return what was found on each, and the ledger."""
    folders = {device: tmp_path_factory.mktemp(device) for device in ("cpu", "npu")}
    ledger = tmp_path_factory.mktemp("ledger")
    env = {"cpu": dict(os.environ), "npu": environment(standin_root, ledger=ledger)}
    processes = {
        device: subprocess.Popen(
            [sys.executable, PROGRAM, folder, "1x1", "whole", "--device", device, "--steps", "3"],
            env=env[device],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for device, folder in folders.items()
    }
    try:
        for process in processes.values():
            said, _ = process.communicate(timeout=900)
            assert process.returncode == 0, said[-3000:]
    finally:
        for process in processes.values():
            process.kill()
    found = {device: np.load(folder / "1x1_whole.npz") for device, folder in folders.items()}
    (file,) = ledger.glob("rank_0_*.json")
    return found, json.loads(file.read_text())


def test_losses_are_those_of_the_cpu(runs):
    on_cpu, on_npu = runs[0]["cpu"], runs[0]["npu"]
    losses = [name for name in on_cpu if name.startswith("report/") and name.endswith("/loss")]
    assert len(losses) == 3
    for name in losses:
        np.testing.assert_allclose(on_npu[name], on_cpu[name], rtol=LOSS_TOLERANCE, err_msg=name)
    np.testing.assert_allclose(on_npu["evaluation"], on_cpu["evaluation"], rtol=LOSS_TOLERANCE)


def test_weights_moments_and_averages_are_those_of_the_cpu(runs):
    found, _ = runs
    states = [name for name in found["cpu"] if name.startswith(("model/", "optimizer/", "ema/"))]
    assert len(states) > 100
    for name in states:
        np.testing.assert_allclose(
            found["npu"][name], found["cpu"][name], rtol=0, atol=VALUE_TOLERANCE, err_msg=name
        )


def test_the_step_went_through_the_operators_of_the_device(runs):
    _, ledger = runs
    assert ledger["errors"] == []
    assert ledger["aclnn"] > 1000
    assert ledger["launches"]["aclnnSoftmaxBackward"]["count"] > 0
