import os
import time

import pytest

from hpc.cluster.heartbeat import (
    SHORTEST_PROMISE,
    SUSPENDED_SECONDS,
    WRITE_SECONDS,
    HangDetector,
    Heartbeat,
    stuck_rank,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def heartbeats(tmp_path, clock):
    return [Heartbeat(tmp_path, rank=rank, clock=clock) for rank in range(2)]


class Watch(HangDetector):
    def stuck_rank(self):
        return self.suspended_rank() or stuck_rank(self.positions(), ranks=2)


@pytest.fixture
def watch(tmp_path, clock):
    """On a host whose clock is a day ahead."""
    return Watch(tmp_path, ranks=range(2), clock=lambda: clock() + 86400)


def test_ranks_that_have_not_begun_to_step_may_take_any_time(watch, heartbeats, clock):
    assert watch.stuck_rank() is None
    heartbeats[0].step(0)
    clock.now += 10_000
    assert watch.stuck_rank() is None


def test_the_rank_that_is_behind_is_the_one_that_hangs(watch, heartbeats, clock):
    heartbeats[1].step(7)
    heartbeats[0].step(8)
    assert watch.stuck_rank() is None
    clock.now += SHORTEST_PROMISE - 1
    assert watch.stuck_rank() is None
    clock.now += 2
    rank, how = watch.stuck_rank()
    assert rank == 1
    assert "step 7" in how


def test_ten_usual_steps_are_waited_for(watch, heartbeats, clock):
    for number in range(3):
        for one in heartbeats:
            one.step(number)
        assert watch.stuck_rank() is None
        clock.now += 30
    clock.now += 200
    assert watch.stuck_rank() is None
    clock.now += 80
    assert watch.stuck_rank() is not None


def test_ranks_that_wait_for_one_that_writes_a_checkpoint_are_not_late(watch, heartbeats, clock):
    heartbeats[0].pause(5)
    heartbeats[1].step(5)
    clock.now += 10_000
    assert watch.stuck_rank() is None


def test_a_pause_is_no_step_when_steps_are_timed(tmp_path, watch, heartbeats, clock):
    for one in heartbeats:
        one.step(0)
        one.pause(1)
    clock.now += 5000
    for one in heartbeats:
        one.step(1)
    assert watch.stuck_rank() is None
    clock.now += SHORTEST_PROMISE + 1
    assert watch.stuck_rank() is not None


def test_a_suspended_rank_is_found_whatever_it_was_doing(tmp_path, watch, monkeypatch, clock):
    (tmp_path / "rank_0.log").write_text(f"rank 0 pid {os.getpid()} on here\n")
    assert watch.stuck_rank() is None
    monkeypatch.setattr("psutil.Process.status", lambda process: "stopped")
    assert watch.stuck_rank() is None
    clock.now += SUSPENDED_SECONDS + 1
    rank, how = watch.stuck_rank()
    assert rank == 0
    assert "SIGSTOP" in how


def test_a_quick_loop_writes_a_sign_every_few_seconds(tmp_path, heartbeats, clock):
    file = tmp_path / "rank_0.heartbeat"
    seen = []
    for number in range(100):
        heartbeats[0].step(number)
        seen.append(file.stat().st_ino)
        clock.now += 0.5
    assert len(set(seen)) <= 2 + 50 / WRITE_SECONDS


def test_the_last_sign_of_a_rank_that_stands_still_is_written_by_itself(
    tmp_path, monkeypatch, clock
):
    monkeypatch.setattr("hpc.cluster.heartbeat.WRITE_SECONDS", 0.05)
    one = Heartbeat(tmp_path, rank=0, clock=clock)  # its clock stands still as well
    one.step(0)
    one.step(7)
    deadline = time.monotonic() + 10
    while '"step": 7' not in (tmp_path / "rank_0.heartbeat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_rank_that_was_not_heard_of_is_waited_for():
    assert stuck_rank({0: (5, -1.0)}, ranks=2) is None
    assert stuck_rank({0: (5, -1.0), 1: (4, 3.0)}, ranks=2) == (
        1,
        "hangs in step 4, 1 s after the next was due",
    )


def test_without_a_launcher_no_file_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Heartbeat(None, rank=0).step(1)
    assert not list(tmp_path.iterdir())


def test_a_job_that_was_suspended_as_a_whole_goes_on(watch, heartbeats, clock):
    for one in heartbeats:
        one.step(3)
    assert watch.stuck_rank() is None
    clock.now += 3600
    watch.forgive(3600)
    assert watch.stuck_rank() is None
    clock.now += SHORTEST_PROMISE + 1
    assert watch.stuck_rank() is not None
