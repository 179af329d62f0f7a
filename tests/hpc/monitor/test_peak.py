import json

import mindspore as ms
import pytest

from hpc.monitor import peak
from hpc.monitor.peak import NPUS, job_peak
from hpc.monitor.progress import Progress

ms.set_context(mode=ms.GRAPH_MODE)


def test_a_peak_is_measured_and_the_best_one_of_a_run_is_kept(tmp_path):
    measured = job_peak(ranks=1, hosts=1, folder=tmp_path)
    assert 1e8 < measured < 1e14
    file = tmp_path / "host_peak.json"
    (key,) = json.loads(file.read_text())
    file.write_text(json.dumps({key: 1e15, "another host": 1.0}))
    assert job_peak(ranks=1, hosts=1, folder=tmp_path) == 1e15
    assert json.loads(file.read_text())["another host"] == 1.0


def test_ranks_that_share_a_hosts_cores_share_its_peak(monkeypatch):
    monkeypatch.setattr(peak, "product_rate", lambda: 1e12)
    for threads in ("1", "2"):  # whose number a product does not heed
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        for ranks in (1, 2, 8):
            assert job_peak(ranks=ranks, hosts=1, folder=None) == 1e12
        assert job_peak(ranks=4, hosts=2, folder=None) == 2e12


def test_the_rates_of_ranks_with_cores_of_their_own_add_up(monkeypatch):
    monkeypatch.setattr(peak, "product_rate", lambda: 1e12)
    assert job_peak(ranks=2, hosts=1, folder=None, pinned=True) == 2e12
    assert job_peak(ranks=8, hosts=2, folder=None, pinned=True) == 8e12


def test_the_npus_figures_are_the_published_ones():
    assert {name: npu.operations / 1e12 for name, npu in NPUS.items()} == {
        "910B1": 364,
        "910B2": 354,
        "910B3": 295,
        "910B4": 246,
        "910_93": 376,
    }


def test_the_progress_line_tells_the_mfu(capsys):
    progress = Progress(
        "diffusion",
        total=10,
        done=0,
        samples_per_step=4,
        on_rank_zero=True,
        operations=1e9,
        peak=1e12,
    )
    speed = progress.report(
        2, made=3, loss=1.0, learning_rate=1e-3, gradient_norm=1.0, data_wait=0.0
    )
    assert speed["mfu"] == pytest.approx(speed["samples_per_second"] * 1e9 / 1e12)
    assert f"MFU {100 * speed['mfu']:.1f} %" in capsys.readouterr().out
    assert progress.speed == speed


def test_without_a_peak_the_progress_line_is_silent_about_it(capsys):
    progress = Progress("diffusion", total=10, done=0, samples_per_step=4, on_rank_zero=True)
    speed = progress.report(
        2, made=3, loss=1.0, learning_rate=1e-3, gradient_norm=1.0, data_wait=0.0
    )
    assert "mfu" not in speed
    assert "MFU" not in capsys.readouterr().out
