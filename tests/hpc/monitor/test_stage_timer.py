import pytest

from hpc.monitor.goodput import read_goodput
from hpc.monitor.stage_timer import StageTimer


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


def test_every_second_belongs_to_one_category_and_a_restart_shows_what_was_lost(tmp_path):
    clock = Clock()
    StageTimer(None, resumed_step=0, clock=clock)  # takes the seconds of this test process
    sheet = StageTimer(tmp_path, resumed_step=0, clock=clock)
    clock.now += 5
    assert sheet.lap("compile") == 5
    for _ in range(4):
        clock.now += 1
        sheet.lap("data_wait")
        clock.now += 3
        sheet.lap("step")
    assert sheet.data_wait_share() == 0.25
    assert sheet.data_wait_share() == 0.0
    curves = sheet.flush(step=4)
    assert curves["time/goodput"] == pytest.approx(12 / 21)
    assert curves["time/data_wait_seconds"] == 4
    StageTimer(tmp_path, resumed_step=2, clock=clock)
    total = read_goodput(tmp_path)
    assert total.attempts == 2
    assert total.lost == pytest.approx(21 / 2)


def test_ranks_without_a_folder_measure_and_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sheet = StageTimer(None, resumed_step=0)
    sheet.lap("step")
    assert sheet.flush(step=1) == {}
    assert not list(tmp_path.iterdir())


def test_the_first_sheet_of_a_process_begins_with_the_process(monkeypatch):
    monkeypatch.setattr("hpc.monitor.stage_timer._process_began", 100.0)
    clock = Clock()
    clock.now = 130.0
    assert StageTimer(None, resumed_step=0, clock=clock).lap("import") == 30.0
    assert StageTimer(None, resumed_step=0, clock=clock).lap("import") == 0.0


def test_the_launchers_seconds_of_installation_are_counted_once_a_process(monkeypatch, tmp_path):
    monkeypatch.setattr("hpc.monitor.stage_timer._process_began", 100.0)
    monkeypatch.setenv("HPC_INSTALL_SECONDS", "61")
    for stage in ("first", "second"):
        sheet = StageTimer(tmp_path / stage, resumed_step=0)
        sheet.flush(step=1)
    assert read_goodput(tmp_path / "first").seconds["install"] == 61
    assert read_goodput(tmp_path / "second").seconds["install"] == 0
