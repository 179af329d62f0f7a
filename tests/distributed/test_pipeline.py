"""Two stages under msrun train like one process: dropout, a bad sample and a stop vote included."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("pipeline_equality.py")
MSRUN = ["msrun", "--worker_num=2", "--local_worker_num=2", "--join=True", "--bind_core=False"]
# msrun starts the `python` that it finds.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_folded_stages_train_like_one_process(tmp_path):
    options = [
        f"--master_port={free_port()}",
        "--cluster_time_out=120",
        f"--log_dir={tmp_path}/log",
    ]
    single = [sys.executable, str(SCRIPT), str(tmp_path), "1x1"]
    pair = [*MSRUN, *options, *single[1:-1], "1x2"]
    for command in (single, pair):
        run = subprocess.run(
            command, timeout=600, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT
        )
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    one, two = (np.load(tmp_path / f"{mesh}.npz") for mesh in ("1x1", "1x2"))
    assert sorted(one.files) == sorted(two.files)
    assert [one[f"report/{step}/is_finite"] for step in range(4)] == [1, 0, 1, 1]
    assert np.isclose(two["report/2/stop_votes"], 0.5), "one of two ranks asked to stop"
    for name in one.files:
        if not name.endswith("stop_votes"):
            np.testing.assert_allclose(two[name], one[name], rtol=1e-5, atol=1e-5, err_msg=name)
