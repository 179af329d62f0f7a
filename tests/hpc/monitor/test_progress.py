"""The progress line's speed is that of the steps that were made, whichever step it reports."""

import time

import pytest

from hpc.monitor.progress import Progress


@pytest.fixture
def progress():
    return Progress("diffusion", total=10, done=0, samples_per_step=4, on_rank_zero=True)


def seconds_a_step(progress, step: int, made: int) -> float:
    numbers = {"loss": 1.0, "learning_rate": 1e-3, "gradient_norm": 1.0, "data_wait": 0.0}
    return progress.report(step, made=made, **numbers)["step_seconds"]


def test_steps_made_ahead_of_the_reported_one_count(progress):
    time.sleep(0.3)
    assert 0.1 <= seconds_a_step(progress, 2, 3) < 0.15
    time.sleep(0.3)
    assert 0.15 <= seconds_a_step(progress, 4, 5) < 0.3


def test_a_second_line_after_the_same_step_repeats_the_speed(progress):
    time.sleep(0.1)
    speed = seconds_a_step(progress, 1, 2)
    assert seconds_a_step(progress, 2, 2) == speed


def test_what_passed_before_the_clock_was_restarted_does_not_count(progress):
    time.sleep(0.3)
    progress.restart_clock(2)
    time.sleep(0.01)
    assert seconds_a_step(progress, 3, 3) < 0.15


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_a_line_fits_the_terminal_and_a_log_gets_all(progress, monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for is_terminal in (True, False):
        monkeypatch.setattr("sys.stdout.isatty", lambda seen=is_terminal: seen)
        seconds_a_step(progress, 5, 5)
        line = capsys.readouterr().out.rstrip("\n")
        assert "step 5/10  loss 1" in line
        if is_terminal:
            assert len(line) <= columns
        else:
            assert "samples/s" in line
            assert "wait 0.0 %" in line
