"""One start at a time works on a run, and an old one writes nothing any more."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hpc import fence
from hpc.checkpoint.format import write_checkpoint
from hpc.cluster import hold
from hpc.cluster.hold import hold_run
from hpc.durable_files import write_durably
from hpc.errors import UserError

HOLDER = """
import sys, time
from pathlib import Path
from hpc.cluster.hold import hold_run
print(hold_run(Path(sys.argv[1]), what="prediff run").number, flush=True)
time.sleep(60 if sys.argv[2] == "stays" else 0)
"""


@pytest.fixture(autouse=True)
def no_start(monkeypatch):
    monkeypatch.delenv(fence.VARIABLE, raising=False)
    before = dict(hold._held)
    yield
    for held in list(hold._held.values()):
        if held not in before.values():
            held.release()
    os.environ.pop(fence.VARIABLE, None)


@pytest.fixture
def other(tmp_path):
    """Start another process that holds the run `tmp_path`."""
    started = []

    def start(how: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path), how], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        process.number = int(process.stdout.readline())
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def record(folder: Path, number: int) -> dict:
    return json.loads(fence.start_file(folder / hold.FOLDER, number).read_text())


def change(folder: Path, number: int, **values: object) -> None:
    file = fence.start_file(folder / hold.FOLDER, number)
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_second_start_says_who_holds_the_run(tmp_path, other):
    holder = other("stays")
    with pytest.raises(UserError) as refused:
        hold_run(tmp_path, what="prediff launch")
    line = str(refused.value)
    for part in (
        "`prediff run`",
        f"process {holder.pid}",
        "start 1",
        "--wait",
        os.uname().nodename,
    ):
        assert part in line
    assert len(list((tmp_path / hold.FOLDER).iterdir())) == 1


def test_a_start_that_ended_or_was_killed_leaves_the_run_at_once(tmp_path, other):
    assert other("ends").wait(30) == 0
    assert "ended" in record(tmp_path, 1)
    killed = other("stays")
    assert killed.number == 2
    killed.kill()
    killed.wait()
    assert "ended" not in record(tmp_path, 2)
    assert hold_run(tmp_path, what="again").number == 3


def test_who_waits_gets_the_run_when_the_holder_has_ended(tmp_path, other, monkeypatch):
    monkeypatch.setattr(hold, "POLL_SECONDS", 0.05)
    holder, said = other("stays"), []
    threading.Timer(0.5, holder.kill).start()
    threading.Timer(0.6, holder.wait).start()
    assert hold_run(tmp_path, what="later", wait=True, say=said.append).number == 2
    assert len(said) == 1
    assert "waiting for `prediff run`" in said[0]


def test_of_many_starts_at_the_same_moment_one_gets_the_run(tmp_path):
    script = HOLDER.replace("time.sleep(60", "time.sleep(5")
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), "stays"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [start.communicate(timeout=60) for start in starts]
    assert sorted(out.strip() for out, _ in outputs) == ["", "", "", "1"]
    assert sum("is held by" in errors for _, errors in outputs) == 3


def test_a_holder_on_another_host_lives_as_long_as_it_gives_signs(tmp_path, other, monkeypatch):
    monkeypatch.setattr(hold, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(hold, "PROMISED_SECONDS", 0.5)
    other("ends").wait()
    change(tmp_path, 1, process="elsewhere-1-1", host="node7")
    file = fence.start_file(tmp_path / hold.FOLDER, 1)
    file.write_text(json.dumps({k: v for k, v in record(tmp_path, 1).items() if k != "ended"}))
    sign = threading.Timer(0.2, os.utime, [file])
    sign.start()
    with pytest.raises(UserError, match="on node7"):
        hold_run(tmp_path, what="x")
    sign.join()
    began = time.monotonic()
    assert hold_run(tmp_path, what="x").number == 2
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize(
    ("job", "restart", "state", "taken"),
    [
        ("7", "1", "RUNNING", True),  # this very job, requeued
        ("8", "0", "CANCELLED", True),
        ("8", "0", "RUNNING", False),
    ],
)
def test_slurm_knows_whether_the_job_that_holds_a_run_has_ended(
    tmp_path, other, monkeypatch, job, restart, state, taken
):
    monkeypatch.setattr(hold, "PROMISED_SECONDS", 5.0)
    monkeypatch.setattr(hold, "POLL_SECONDS", 0.05)
    command = tmp_path / "bin" / "scontrol"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\necho JobId=7 JobState={state} Reason=None\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    other("ends").wait()
    file = fence.start_file(tmp_path / hold.FOLDER, 1)
    held = {k: v for k, v in record(tmp_path, 1).items() if k != "ended"}
    file.write_text(json.dumps({**held, "process": "elsewhere-1-1", "job": "7", "restart": 0}))
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", restart)
    if taken:
        began = time.monotonic()
        assert hold_run(tmp_path, what="x").number == 2
        assert time.monotonic() - began < 4
    else:
        threading.Timer(0.3, os.utime, [file]).start()
        with pytest.raises(UserError, match="Slurm job 7"):
            hold_run(tmp_path, what="x")


def test_a_process_of_an_earlier_start_writes_nothing(tmp_path):
    held = hold_run(tmp_path, what="mine")
    write_durably(tmp_path / "mine", b"1")
    write_checkpoint(tmp_path / "c", step=1, arrays={}, state={})
    fence.start_file(held.folder, held.number + 1).write_text("{}")
    assert not held.is_mine
    with pytest.raises(fence.Overtaken, match="start 2 has the run"):
        write_durably(tmp_path / "mine", b"2")
    with pytest.raises(fence.Overtaken):
        write_checkpoint(tmp_path / "c", step=2, arrays={}, state={})
    assert (tmp_path / "mine").read_bytes() == b"1"
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["step_00000001"]


def test_starts_of_long_ago_are_forgotten_and_numbers_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(hold, "KEPT_STARTS", 3)
    for number in range(1, 7):
        held = hold_run(tmp_path, what="x")
        assert held.number == number
        held.release()
    assert sorted(fence.start_numbers(tmp_path / hold.FOLDER)) == [4, 5, 6]
