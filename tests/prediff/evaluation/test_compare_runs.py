"""Two evaluated runs: what differs, and which runs may not be compared."""

import json

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from hpc.errors import UserError
from prediff.cli import app
from prediff.evaluation.compare_runs import compare_runs
from prediff.verification import Scoreboard, protocol_named

LEADS = (10, 20)
CASES = [("R1", "a"), ("R1", "b"), ("R2", "c"), ("R3", "d"), ("R4", "e")]


def evaluated_run(path, *, noise, protocol="native", leads=LEADS, cases=CASES, size=32):
    """Write what `prediff evaluate` leaves of a run whose errors have a given size."""
    random = np.random.default_rng(5)
    board = Scoreboard(lead_minutes=leads, protocol=protocol_named(protocol))
    for event, case in cases:
        truth = random.random((len(leads), size, size)).astype(np.float32)
        error = random.normal(0, 1, (3, *truth.shape)).astype(np.float32)
        board.update(
            forecasts={
                "PreDiff": np.clip(truth + noise * error, 0, 1)[None],
                "persistence": np.roll(truth, 1, axis=0)[None, None],
            },
            observation=truth[None],
            event_ids=[event],
            case_ids=[case],
        )
    (path / "evaluation").mkdir(parents=True)
    (path / "config.yaml").write_text("")
    board.save(path / "evaluation" / "scoreboard.npz")
    return path


@pytest.fixture
def sharp(tmp_path):
    return evaluated_run(tmp_path / "sharp", noise=0.05)


@pytest.fixture
def blurred(tmp_path):
    return evaluated_run(tmp_path / "blurred", noise=0.3)


def test_the_better_run_is_told_from_the_worse(sharp, blurred, tmp_path):
    done = CliRunner().invoke(
        app,
        ["compare", str(sharp), str(blurred), "--out", str(tmp_path / "d.json")],
        catch_exceptions=False,
        env={"COLUMNS": "160"},
    )
    assert "PreDiff of sharp minus PreDiff of blurred, protocol native" in done.output
    assert "5 cases of 4 events" in done.output
    found = json.loads((tmp_path / "d.json").read_text())
    crps = found["first_minus_second"]["ensemble"]["fair_continuous_ranked_probability_score"]
    assert crps["pool_1"]["interval"][1] < 0
    assert 0 < crps["pool_1"]["p_value"] < 0.3
    back = compare_runs(blurred, sharp).differences["ensemble"]
    back_crps = back["fair_continuous_ranked_probability_score"]["pool_1"]
    assert back_crps["difference"] == pytest.approx(-crps["pool_1"]["difference"])


def test_baselines_of_a_run_can_be_compared_too(sharp):
    found = compare_runs(sharp, sharp, systems=("PreDiff", "persistence"))
    mse = found.differences["ensemble_mean"]["mean_squared_error"]
    assert mse["difference"] < 0
    console = Console(width=160, record=True)
    console.print(found.table())
    assert "fair CRPS (ensemble)" in console.export_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "diffcast128"}, "protocol 'native' cannot be compared with .* 'diffcast128'"),
        ({"leads": (5, 10)}, "lead times differ"),
        ({"cases": CASES[:4]}, "'sharp' and 'other' were not scored on the same cases"),
    ],
)
def test_runs_that_were_scored_otherwise_are_not_compared(sharp, tmp_path, options, message):
    other = evaluated_run(tmp_path / "other", noise=0.1, **options)
    with pytest.raises(UserError, match=message):
        compare_runs(sharp, other)


def test_runs_without_scores_and_unknown_systems_are_refused(sharp, tmp_path):
    with pytest.raises(UserError, match="no run at"):
        compare_runs(sharp, tmp_path / "absent")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.yaml").write_text("")
    with pytest.raises(UserError, match="run `prediff evaluate --name bare` first"):
        compare_runs(sharp, tmp_path / "bare")
    with pytest.raises(UserError, match="no system 'rain'"):
        compare_runs(sharp, sharp, systems=("rain", "PreDiff"))
    with pytest.raises(UserError, match="give one for each run, or none"):
        compare_runs(sharp, sharp, systems=("PreDiff",))
