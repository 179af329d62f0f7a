"""The batch step and the supervisors of its nodes, with stand-ins for srun, scontrol and msrun.

tests/distributed/slurm has the same on a real Slurm.
"""

import os
import re
import signal
import socket
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest
from slurm_stand_ins import FAST, make_site

from hpc.cluster import slurm
from hpc.cluster.job import JOB
from hpc.cluster.marks import End, Marks
from hpc.cluster.slurm import Allocation, allocation, run_on_nodes
from hpc.errors import UserError


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with the stand-ins, where the test is."""
    make_site(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(autouse=True)
def keep_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(what: str, nodes: tuple[str, ...] = ("n1",)) -> int:
    where = Allocation(job=7, nodes=nodes, restarts=0)
    return run_on_nodes(
        ["rank", what], where=where, workers=1, log_dir=Path("log"), stop_file=Path("stop")
    )


def when_started(action, ranks: int = 1) -> None:
    logs = [Path(f"log/rank_{rank}.log") for rank in range(ranks)]

    def wait() -> None:
        while not all(log.exists() and "started" in log.read_text() for log in logs):
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


def test_ranks_that_do_not_stop_before_the_limit_are_requeued_as_they_are(site, monkeypatch, capfd):
    monkeypatch.setattr(slurm, "LAST_SECONDS", 20.0)
    monkeypatch.setenv("END_TIME", "Unknown")
    seen = []

    def warn() -> None:
        end = datetime.now() + timedelta(seconds=24)
        os.environ["END_TIME"] = end.isoformat(timespec="seconds")
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(1)
        seen.extend(requeues(site))
        while not requeues(site):
            time.sleep(0.05)
        for process in psutil.process_iter(["cmdline"]):
            if (process.info["cmdline"] or [])[1:] == ["-m", "rank", "deaf"]:
                process.kill()

    when_started(warn)
    assert run("deaf") == 1
    assert seen == [], "too early"
    assert requeues(site) == ["requeue 7"]
    assert "did not stop in time: requeued" in capfd.readouterr().err


def test_a_loopback_address_of_the_head_is_not_given_to_other_nodes(site):
    address = Allocation(job=1, nodes=("n1", "n2"), restarts=0).head_address
    assert not address.startswith("127.")


@pytest.fixture
def two_nodes(site, monkeypatch):
    """Two nodes whose supervisors look around every moment; nobody may be left on them."""
    monkeypatch.setenv("FAST", FAST)
    yield ("n1", "n2")
    deadline = time.monotonic() + 10
    while left := of_job():
        assert time.monotonic() < deadline, [process.cmdline() for process in left]
        time.sleep(0.05)


def of_job() -> list[psutil.Process]:
    """Return all processes of starts in the current folder."""
    found = []
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            if JOB in environ and environ.get("HPC_LOG", "").startswith(str(Path.cwd())):
                found.append(process)
        except psutil.Error:
            continue
    return found


def supervisor(node: int) -> psutil.Process:
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            is_supervisor = environ.get("SLURM_NODEID") == str(node) and JOB not in environ
            if is_supervisor and process.cwd() == str(Path.cwd()):
                return process
        except psutil.Error:
            continue
    raise AssertionError(f"no supervisor of node {node}")


@pytest.mark.parametrize("node", [0, 1])
def test_a_killed_supervisor_is_missed_by_the_others_and_named(two_nodes, capfd, node):
    when_started(lambda: supervisor(node).kill(), ranks=2)
    assert run("waits", two_nodes) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"error: node {node} ({socket.gethostname()}) has given no sign for")


def test_a_rank_that_dies_on_another_node_is_named_in_the_last_line(two_nodes, capfd):
    assert run("dies", two_nodes) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"error: rank 1 on {socket.gethostname()} was killed by signal 9")


def test_bad_input_on_another_node_ends_all(two_nodes, capfd):
    assert run("bad", two_nodes) == 2
    assert "rank 1 on" in capfd.readouterr().err.strip().splitlines()[-1]


def test_a_rank_that_hangs_on_another_node_is_found(two_nodes, capfd):
    assert run("hangs", two_nodes) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert "rank 1 hangs in step 4" in last.replace(f" on {socket.gethostname()}", "")


def test_both_nodes_stop_together(two_nodes):
    when_started(lambda: os.kill(os.getpid(), signal.SIGUSR1), ranks=2)
    assert run("waits", two_nodes) == 75


def test_a_killed_srun_leaves_nobody_and_is_named(two_nodes, capfd):
    def kill() -> None:
        for child in psutil.Process().children():
            if "srun" in " ".join(child.cmdline()):
                child.kill()

    when_started(kill, ranks=2)
    assert run("deaf", two_nodes) == 1
    assert "srun was killed by signal 9" in capfd.readouterr().err


def test_a_rank_that_ends_without_a_word_is_no_success(two_nodes, capfd):
    assert run("quits", two_nodes) == 1
    assert "before its ranks had" in capfd.readouterr().err


def test_a_node_without_msrun_says_so(site, monkeypatch, capfd):
    (site / "bin/msrun").unlink()
    lonely = site / "lonely"
    lonely.mkdir()
    code = "import sys; sys.executable = '/lonely/python'\n" + FAST
    monkeypatch.setenv("FAST", code)
    monkeypatch.setenv("PATH", f"{site / 'bin'}:/usr/bin:/bin")
    assert run("good") == 1
    assert f"msrun is not on PATH of {socket.gethostname()}" in capfd.readouterr().err
