"""Ranks under msrun train like one process: dropout, a bad sample and a stop vote included."""

from pathlib import Path

import numpy as np
import pytest
from mesh_equality import REFERENCE, TOLERANCE, difference
from ranks import run_ranks

SCRIPT = Path(__file__).with_name("pipeline_equality.py")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder with the results of one process."""
    folder = tmp_path_factory.mktemp("equality")
    run_ranks(SCRIPT, str(folder), "1x1", "whole", ranks=1, folder=folder, timeout=600)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "variant"), [("1x2", "recomputed"), ("2x1", "sharded"), ("1x2", "by_mindspore")]
)
def test_two_ranks_train_like_one_process(alone, mesh, variant):
    run_ranks(SCRIPT, str(alone), mesh, variant, ranks=2, folder=alone, timeout=600)
    found = alone / f"{mesh}_{variant}.npz"
    assert difference(found, alone / f"{REFERENCE}.npz") < TOLERANCE
    reports = np.load(found)
    assert [reports[f"report/{step}/is_finite"] for step in range(4)] == [1, 0, 1, 1]
    assert np.isclose(reports["report/2/stop_votes"], 0.5), "one of two ranks asked to stop"
