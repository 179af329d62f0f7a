import os
import signal
import time

import pytest

from hpc.cluster.stop import STOPPED_EXIT_CODE, StopRequest, StopSignals


def request(stop_file=None, **options) -> StopRequest:
    return StopRequest(**{"max_seconds": None, "leads": True, **options}, stop_file=stop_file)


def test_nothing_asked_is_no_reason(tmp_path):
    assert request().reason() is None
    assert request(tmp_path / "stop").reason() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request_and_not_the_end(number):
    before = signal.getsignal(number)
    with request() as stop:
        os.kill(os.getpid(), number)
        assert stop.reason() == number.name
    assert signal.getsignal(number) is before


def test_the_second_ctrl_c_ends_at_once():
    with request() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.reason() == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stop_file_is_a_request_and_goes_away_when_obeyed(tmp_path):
    file = tmp_path / "stop"
    stop = request(file)
    file.touch()
    assert stop.reason() == f"stop file {file}"
    stop.obeyed()
    assert not file.exists()
    assert stop.reason() is None


def test_a_stop_file_touched_while_the_process_started_counts(tmp_path):
    file = tmp_path / "stop"
    file.touch()
    assert request(file).reason() == f"stop file {file}"


@pytest.mark.parametrize("leads", [True, False])
def test_a_stop_file_of_an_earlier_run_is_ignored_and_the_leader_removes_it(tmp_path, leads):
    file = tmp_path / "stop"
    file.touch()
    os.utime(file, (1e9, 1e9))
    stop = request(file, leads=leads)
    assert file.exists() != leads
    assert stop.reason() is None
    file.touch()
    assert stop.reason() is not None
    stop.obeyed()
    assert file.exists() != leads


def test_the_time_limit_counts_from_the_start_of_the_process():
    assert request(max_seconds=1e6).reason() is None
    assert request(max_seconds=0).reason() == "time limit"
    later = request(max_seconds=1e6, clock=lambda: time.time() + 1e6 + 1)
    assert later.reason() == "time limit"


def test_the_time_is_over_for_all_ranks_when_it_is_for_the_leader():
    assert request(max_seconds=0, leads=False).reason() is None


def test_the_exit_code_is_the_one_that_is_documented():
    assert STOPPED_EXIT_CODE == os.EX_TEMPFAIL == 75


def test_a_terminal_that_goes_away_is_a_request_and_one_that_is_to_be_ignored_is_none():
    with request() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.reason() == "SIGHUP"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with request() as stop, StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.reason() is None
            assert signals.count == 0
    finally:
        signal.signal(signal.SIGHUP, before)
