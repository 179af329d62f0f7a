"""Two ranks with half of a batch each find the gradients of one rank with all of it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("adversarial_gradients.py")
MSRUN = "msrun --worker_num=2 --local_worker_num=2 --join=True --bind_core=False"
PORT = 21873
# msrun starts the `python` that it finds.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.mark.slow
def test_adversarial_gradients_do_not_depend_on_the_number_of_ranks(tmp_path):
    single = [sys.executable, str(SCRIPT), str(tmp_path)]
    options = [f"--master_port={PORT}", "--cluster_time_out=120", f"--log_dir={tmp_path}/log"]
    for command in (single, [*MSRUN.split(), *options, *single[1:]]):
        run = subprocess.run(
            command, timeout=400, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT
        )
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    one, first, second = (np.load(tmp_path / name) for name in ("1_0.npz", "2_0.npz", "2_1.npz"))
    assert len(one.files) > 60
    for network in ("generator", "discriminator"):
        names = [name for name in one.files if name.startswith(network)]
        scale = max(np.abs(one[name]).max() for name in names if one[name].ndim)
        for name in names:
            mean = (first[name] + second[name]) / 2
            tolerance = 1e-4 * (scale if mean.ndim else 1 + abs(one[name]))
            np.testing.assert_allclose(mean, one[name], rtol=0, atol=tolerance, err_msg=name)
