"""Ranks that were started with different configurations do nothing and say so in one line."""

from pathlib import Path

import pytest
from ranks import run_ranks

SCRIPT = Path(__file__).with_name("differing_ranks.py")


@pytest.mark.ranks
def test_every_rank_names_the_one_that_differs(tmp_path):
    run_ranks(SCRIPT, str(tmp_path), ranks=2, folder=tmp_path, timeout=300)
    for rank in (0, 1):
        said = (tmp_path / f"said_{rank}").read_text()
        assert "the configuration (beside its defaults) differs between ranks" in said
        assert "seed: 0 -> 5" in said
        assert "\n" not in said
    assert not (tmp_path / "runs").exists()
