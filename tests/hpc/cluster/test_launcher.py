import os
import signal
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

from hpc.cluster import heartbeat
from hpc.cluster.launcher import LOG_VARIABLE, launch, record_exit_code
from hpc.cluster.rank_log import read_process
from hpc.errors import UserError

pytestmark = pytest.mark.alone


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}")
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
            if process.environ().get(LOG_VARIABLE) == str(log_dir):
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
    assert "rank 1 ended with code 2" in errors
    assert "error: no such data" in errors


def test_a_rank_that_crashes_ends_the_job_and_shows_its_log(start, capfd):
    assert start("crash") == 1
    errors = capfd.readouterr().err
    assert "rank 1 failed with code 1" in errors
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
    assert "rank 1 was killed by signal 9" in capfd.readouterr().err


def test_a_suspended_rank_ends_the_job_and_is_named(start, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(heartbeat, "SUSPENDED_SECONDS", 1.0)
    when_stepping(
        tmp_path / "log", lambda: os.kill(read_process(tmp_path / "log", 1), signal.SIGSTOP)
    )
    assert start("steps") == 1
    assert "rank 1 has been suspended" in capfd.readouterr().err


def test_of_ranks_that_stand_still_the_one_behind_is_named(start, capfd):
    assert start("hang") == 1
    assert "rank 1 hangs in step 4" in capfd.readouterr().err


def test_a_port_in_use_is_bad_input(start, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} .* is not free"):
            start("good", port=port)


def test_without_a_launcher_the_exit_code_stays_what_it_is(monkeypatch):
    monkeypatch.delenv(LOG_VARIABLE, raising=False)
    assert record_exit_code(75) == 75
