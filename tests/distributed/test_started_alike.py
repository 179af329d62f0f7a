"""Ranks with different configurations do nothing, ranks with different clocks warn: in one line."""

from pathlib import Path

import pytest
from ranks import run_ranks

SCRIPT = Path(__file__).with_name("differing_ranks.py")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("differing")
    run_ranks(SCRIPT, str(folder), ranks=2, folder=folder, timeout=300)
    return folder


def test_every_rank_names_the_one_whose_configuration_differs(folder):
    for rank in (0, 1):
        said = (folder / f"said_{rank}").read_text()
        assert "the configuration (beside its defaults) differs between ranks" in said
        assert "seed: 0 -> 5" in said
        assert "\n" not in said
    assert not (folder / "runs").exists()


def test_rank_0_names_the_one_whose_clock_differs(folder):
    assert (folder / "clock_0_0").read_text() == "None"
    said = (folder / "clock_100_0").read_text()
    assert "rank 1 on " in said
    assert "s ahead" in said
    assert "\n" not in said
    assert (folder / "clock_100_1").read_text() == "None"
