"""The batch step and the node agent, with stand-ins for srun, scontrol and msrun.

tests/distributed/slurm has the same on a real Slurm.
"""

import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from hpc.cluster.marks import End, Marks
from hpc.cluster.slurm import Allocation, allocation, run_on_nodes
from hpc.errors import UserError

SRUN = """\
import os, sys
command = sys.argv[1:]
while command[0].startswith("--"):
    command.pop(0)
os.environ.update(SLURM_NODEID="0", SLURM_STEP_NUM_NODES="1")
os.execvp(command[0], command)
"""
MSRUN = """\
import os, subprocess, sys
command = sys.argv[sys.argv.index("python"):]
environ = {**os.environ, "MS_ROLE": "MS_WORKER", "RANK_ID": "0", "RANK_SIZE": "1"}
rank = subprocess.Popen(command, env=environ, start_new_session=True)
if rank.wait():
    print(f"Worker process {rank.pid} exit with exception. Error code: {rank.returncode}.")
    sys.exit(1)
"""
SCONTROL = """\
import sys
open("scontrol.log", "a").write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["show", "hostnames"]:
    print("n1\\nn2")
if sys.argv[1:3] == ["show", "job"]:
    print("JobId=7 EndTime=Unknown")
if sys.argv[1:3] == ["show", "node"]:
    print("NodeName=n1 NodeAddr=127.0.1.1 Port=1")
"""
RANK = """\
import os, signal, sys, time
from pathlib import Path
from hpc.cluster.job import enter_job, record_exit_code
from hpc.cluster.rank_log import redirect_to_rank_log
from hpc.cluster.stop import StopRequest

enter_job()
redirect_to_rank_log(Path("log"), 0)
with StopRequest(stop_file=Path("stop"), max_seconds=None, leads=True) as stop:
    print("started", flush=True)
    if sys.argv[1] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    while sys.argv[1] == "waits" and not stop.reason():
        time.sleep(0.05)
code = {"waits": 75, "bad": 2, "good": 0}[sys.argv[1]]
sys.exit(record_exit_code(code))
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with the stand-ins on PATH and a rank as module `rank`."""
    for name, text in {"srun": SRUN, "msrun": MSRUN, "scontrol": SCONTROL}.items():
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!{sys.executable}\n{text}")
        command.chmod(0o755)
    (tmp_path / "rank.py").write_text(RANK)
    (tmp_path / "log").mkdir()
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[3]}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def keep_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(what: str) -> int:
    where = Allocation(job=7, nodes=("n1",), restarts=0)
    return run_on_nodes(
        ["rank", what], where=where, workers=1, log_dir=Path("log"), stop_file=Path("stop")
    )


def when_started(action) -> None:
    def wait() -> None:
        log = Path("log/rank_0.log")
        while not (log.exists() and "started" in log.read_text()):
            time.sleep(0.05)
        action()

    threading.Thread(target=wait, daemon=True).start()


def requeues(site: Path) -> list[str]:
    log = site / "scontrol.log"
    return re.findall("requeue .*", log.read_text()) if log.exists() else []


def test_a_warned_job_stops_and_goes_back_into_the_queue(site):
    when_started(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    assert run("waits") == 75
    assert requeues(site) == ["requeue 7"]
    assert not Path("stop").exists()


def test_a_job_stopped_by_hand_is_not_requeued(site):
    when_started(Path("stop").touch)
    assert run("waits") == 75
    assert requeues(site) == []


def test_a_job_that_is_ended_from_outside_saves_and_leaves_the_queue_to_slurm(site):
    when_started(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run("waits") == 75
    assert requeues(site) == []


def test_a_finished_job_returns_zero_and_shows_the_log_of_rank_0(site, capfd):
    assert run("good") == 0
    assert "started" in capfd.readouterr().out


def test_bad_input_keeps_its_code(site):
    assert run("bad") == 2


def test_a_killed_rank_is_named_and_the_job_is_not_requeued(site, capfd):
    assert run("dies") == 1
    assert f"rank 0 on {socket.gethostname()} was killed by signal 9" in capfd.readouterr().err
    assert requeues(site) == []


def test_marks_of_an_earlier_start_do_not_count(site):
    earlier = Marks.begin(Path("log"), start=None)
    (earlier.folder / "rank_0.exit").write_text("1")
    earlier.make_end(End(message="earlier", code=1, rank=0))
    Path("stop").touch()
    assert run("good") == 0


def test_outside_of_slurm_one_line_tells_what_to_do():
    with pytest.raises(UserError, match="this is no Slurm job"):
        allocation({})


def test_nodes_and_restarts_come_from_the_environment(site):
    found = allocation(
        {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_RESTART_COUNT": "3"}
    )
    assert found == Allocation(job=7, nodes=("n1", "n2"), restarts=3)


def test_the_head_of_one_node_needs_no_network():
    assert Allocation(job=1, nodes=("anything",), restarts=0).head_address == "127.0.0.1"


def test_a_taken_port_is_left_to_the_next():
    alone = Allocation(job=4321, nodes=("n1",), restarts=0)
    first = alone.free_port()
    with socket.socket() as taken:
        taken.bind(("", first))
        taken.listen()
        assert alone.free_port() > first >= 24321
