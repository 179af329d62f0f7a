import pytest

from hpc.monitor import goodput
from hpc.monitor.goodput import FILE, Ledger, read_goodput


def test_seconds_are_added_up_over_flushes_and_attempts(tmp_path):
    ledger = Ledger(tmp_path, resumed_step=0)
    ledger.add("compile", 5.0)
    ledger.add("step", 10.0)
    ledger.flush(step=10)
    ledger = Ledger(tmp_path, resumed_step=10)
    ledger.add("step", 3.0)
    ledger.add("step", 2.0)
    ledger.flush(step=15)
    goodput = read_goodput(tmp_path)
    assert goodput.seconds["step"] == 15.0
    assert goodput.seconds["compile"] == 5.0
    assert goodput.attempts == 2
    assert goodput.lost == 0.0
    assert goodput.fraction == 0.75


def test_steps_after_the_checkpoint_of_a_restart_are_lost(tmp_path):
    ledger = Ledger(tmp_path, resumed_step=0)
    ledger.add("step", 10.0)
    ledger.flush(step=10)
    ledger.add("step", 20.0)
    ledger.flush(step=20)
    Ledger(tmp_path, resumed_step=15)
    Ledger(tmp_path, resumed_step=15)
    goodput = read_goodput(tmp_path)
    assert goodput.seconds["step"] == pytest.approx(20.0)
    assert goodput.lost == pytest.approx(10.0)
    Ledger(tmp_path, resumed_step=0)
    goodput = read_goodput(tmp_path)
    assert goodput.seconds["step"] == pytest.approx(0.0)
    assert goodput.lost == pytest.approx(30.0)


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_line_torn_by_a_kill_costs_that_line_only(tmp_path, cut):
    ledger = Ledger(tmp_path, resumed_step=0)
    ledger.add("step", 1.0)
    ledger.flush(step=1)
    ledger.add("step", 2.0)
    ledger.flush(step=2)
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-cut])
    ledger = Ledger(tmp_path, resumed_step=2)
    ledger.add("step", 4.0)
    ledger.flush(step=3)
    goodput = read_goodput(tmp_path)
    assert goodput.seconds["step"] in ((5.0, 7.0) if cut == 1 else (5.0,))
    assert goodput.attempts == 2


def test_the_table_names_what_took_time(tmp_path):
    ledger = Ledger(tmp_path, resumed_step=0)
    ledger.add("data_wait", 25.0)
    ledger.add("step", 75.0)
    ledger.flush(step=5)
    table = read_goodput(tmp_path).table()
    assert "data wait" in table
    assert "75.0 %, 1 attempts" in table
    assert "compile" not in table


def test_a_run_without_ledger_has_no_seconds(tmp_path):
    assert read_goodput(tmp_path).total == 0.0
    assert read_goodput(tmp_path).fraction == 0.0


def test_the_sum_is_kept_while_a_run_goes_on_and_its_file_read_once(tmp_path, monkeypatch):
    first = Ledger(tmp_path, resumed_step=0)
    first.add("step", 10.0)
    first.flush(step=10)
    second = Ledger(tmp_path, resumed_step=5)
    monkeypatch.setattr(goodput, "_records", None)  # reading again would fail
    for step in (6, 7):
        second.add("step", 1.0)
        second.add("data_wait", 0.5)
        second.flush(step=step)
    kept = second.total()
    monkeypatch.undo()
    assert kept == read_goodput(tmp_path)
    assert (kept.seconds["step"], kept.seconds["data_wait"], kept.lost) == (7.0, 1.0, 5.0)
