import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from hpc.cluster import heartbeat, supervisor
from hpc.cluster.job import LOG, record_exit_code
from hpc.cluster.rank_log import read_process
from hpc.cluster.supervisor import launch
from hpc.errors import UserError

HOST = socket.gethostname()
pytestmark = pytest.mark.alone


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(supervisor, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(supervisor, "FILES_SECONDS", 0.5)
    stop_file = tmp_path / "stop"

    def run(way: str, workers: int = 2, port: int | None = None) -> int:
        return launch(
            ["launched_rank", way, str(stop_file)],
            workers=workers,
            log_dir=tmp_path / "log",
            stop_file=stop_file,
            port=port,
        )

    yield run
    assert not _processes_of(tmp_path / "log"), "a process outlives the launcher"


def _processes_of(log_dir: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(LOG, "").startswith(str(log_dir)):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def when_stepping(log_dir: Path, act) -> threading.Thread:
    """Call `act` in a thread as soon as both ranks have made steps."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            logs = list(log_dir.glob("rank_?.log"))
            if len(logs) == 2 and all("steps" in log.read_text() for log in logs):
                act()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_good_job_ends_with_zero_and_shows_rank_zero(start, capfdbinary):
    assert start("good") == 0
    assert capfdbinary.readouterr().out.count(b"all is well") == 1


def test_bad_input_on_any_rank_is_code_two_and_names_the_rank(start, capfd):
    assert start("bad_input") == 2
    errors = capfd.readouterr().err
    assert f"error: rank 1 on {HOST} ended with code 2" in errors
    assert "error: no such data" in errors


def test_a_rank_that_crashes_ends_the_job_and_shows_its_log(start, capfd):
    assert start("crash") == 1
    errors = capfd.readouterr().err
    assert f"rank 1 on {HOST} failed with code 1" in errors
    assert "RuntimeError: a bug" in errors


def test_ctrl_c_lets_every_rank_save_and_ends_with_75(start, tmp_path, capfd):
    when_stepping(tmp_path / "log", lambda: os.kill(os.getpid(), signal.SIGINT))
    (tmp_path / "stop").touch()  # an earlier job's, which stops nobody
    assert start("steps") == 75
    assert "stopping after a checkpoint" in capfd.readouterr().err
    for rank in (0, 1):
        assert "saved a checkpoint" in (tmp_path / "log" / f"rank_{rank}.log").read_text()
    assert not (tmp_path / "stop").exists()


def test_the_second_ctrl_c_kills(start, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(Path, "touch", lambda path: None)  # ranks that never look

    def interrupt_twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    when_stepping(tmp_path / "log", interrupt_twice)
    assert start("steps") == 130
    assert "killed" in capfd.readouterr().err


def test_a_killed_rank_ends_the_job_and_is_named(start, tmp_path, capfd):
    killed = []

    def kill() -> None:
        killed.append(time.monotonic())
        os.kill(read_process(tmp_path / "log", 1), signal.SIGKILL)

    when_stepping(tmp_path / "log", kill)
    assert start("steps") == 1
    assert time.monotonic() - killed[0] < 10
    assert f"rank 1 on {HOST} was killed by signal 9" in capfd.readouterr().err


def test_a_suspended_rank_ends_the_job_and_is_named(start, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(heartbeat, "SUSPENDED_SECONDS", 1.0)
    when_stepping(
        tmp_path / "log", lambda: os.kill(read_process(tmp_path / "log", 1), signal.SIGSTOP)
    )
    assert start("steps") == 1
    assert f"rank 1 on {HOST} has been suspended" in capfd.readouterr().err


def test_of_ranks_that_stand_still_the_one_behind_is_named(start, capfd):
    assert start("hang") == 1
    assert f"rank 1 on {HOST} hangs in step 4" in capfd.readouterr().err


def test_a_port_in_use_is_bad_input(start, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} .* is not free"):
            start("good", port=port)


def test_without_a_launcher_the_exit_code_stays_what_it_is(monkeypatch):
    monkeypatch.delenv(LOG, raising=False)
    assert record_exit_code(75) == 75


def test_a_scheduler_that_dies_ends_the_job_and_is_named(start, tmp_path, capfd):
    def kill() -> None:
        mark = tmp_path / "log/start_0001/scheduler.process"
        while not mark.exists() or not mark.read_text():  # it may be slower than its ranks
            time.sleep(0.05)
        tag = mark.read_text()
        os.kill(int(tag.split("-")[1]), signal.SIGKILL)

    when_stepping(tmp_path / "log", kill)
    assert start("steps") == 1
    assert f"msrun's scheduler on {HOST}" in capfd.readouterr().err


def test_an_msrun_that_dies_takes_its_ranks_along_and_is_named(start, tmp_path, capfd):
    def kill() -> None:
        rank = psutil.Process(read_process(tmp_path / "log", 1))
        rank.parent().kill()
        rank.wait(5)

    when_stepping(tmp_path / "log", kill)
    assert start("steps") == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert f"msrun on {HOST} was killed by signal 9" in last


@pytest.mark.parametrize("victim", ["supervisor", "msrun"])
def test_what_a_killed_supervisor_or_msrun_had_started_is_gone_at_once(tmp_path, victim):
    script = (
        "import sys; from pathlib import Path; from hpc.cluster.supervisor import launch; "
        "sys.exit(launch(['launched_rank', 'steps', 'stop'], workers=2, log_dir=Path('log'), "
        "stop_file=Path('stop'), port=None))"
    )
    path = f"{Path(__file__).parent}:{Path(__file__).parents[3]}"
    job = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        when_stepping(tmp_path / "log", lambda: None).join()
        assert len(_processes_of(tmp_path / "log")) >= 4  # msrun, its scheduler, two ranks
        if victim == "supervisor":
            job.kill()
        else:
            psutil.Process(read_process(tmp_path / "log", 0)).parent().kill()
        deadline = time.monotonic() + 10
        while left := _processes_of(tmp_path / "log"):
            assert time.monotonic() < deadline, f"{left} live on"
            time.sleep(0.05)
    finally:
        job.kill()
        job.wait()


def test_each_start_has_its_own_logs_and_the_newest_are_linked(start, tmp_path):
    assert start("good") == 0
    (tmp_path / "log/start_0001/rank_0.log").chmod(0o600)
    assert start("good") == 0
    assert (tmp_path / "log/rank_1.log").resolve() == tmp_path / "log/start_0002/rank_1.log"
    assert "all is well" in (tmp_path / "log/start_0001/rank_0.log").read_text()


def test_a_terminal_that_goes_away_asks_the_ranks_to_save(start, tmp_path):
    when_stepping(tmp_path / "log", lambda: os.kill(os.getpid(), signal.SIGHUP))
    assert start("steps") == 75
    assert "saved a checkpoint" in (tmp_path / "log/rank_1.log").read_text()


def test_nothing_is_imported_from_the_current_folder(start, tmp_path, monkeypatch):
    (tmp_path / "psutil.py").write_text("raise SystemExit('planted code runs')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"] + ":")  # which names this folder too
    assert start("good") == 0
