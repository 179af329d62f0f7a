"""The report of a job in which one rank is slow names that rank first."""

from pathlib import Path

import pytest
from ranks import run_ranks

from prediff.profiler.record import read_report

SCRIPT = Path(__file__).parents[1] / "prediff" / "profiler" / "slow_rank_run.py"


@pytest.mark.alone
def test_a_rank_that_sleeps_is_named_first(tmp_path):
    run_ranks(SCRIPT, str(tmp_path), ranks=2, folder=tmp_path, timeout=400)
    report = read_report(tmp_path)
    first = report.losses[0]
    assert first.cause == "slow rank"
    assert first.words.startswith("Rank 1 on ")
    assert "most of the difference is the host" in first.words
    waiting, slow = (rank.typical() for rank in report.ranks)
    assert waiting.communication > slow.communication + 0.7
