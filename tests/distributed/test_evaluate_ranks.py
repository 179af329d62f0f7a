"""The evaluation of a run: its baselines, and that no number of ranks changes a score."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner
from untrained_run import untrained_run

from hpc.cluster.supervisor import launch
from hpc.errors import UserError
from prediff.cli import app
from prediff.data.open_data import open_split
from prediff.forecasting.file import write_forecast
from prediff.forecasting.test_set import chosen_cases, provenance

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Make a run with forecasts that are the truth and some noise."""
    folder, config = untrained_run(
        tmp_path_factory.mktemp("job") / "runs" / "small",
        "data.frame_size=32",
        "autoencoder.widths=[4, 8, 8]",
        "forecast.cases=all",
        data=True,
    )
    with open_split(folder, config, "test") as windows:
        for case in chosen_cases(config, windows):
            truth = windows.read_windows([case.window])[0, config.data.context_frames :, ..., 0]
            noise = np.random.default_rng(case.number).normal(0, 0.1, (3, *truth.shape))
            write_forecast(
                case.path(folder),
                ensemble_MTHW=np.clip(truth + noise, 0, 1).astype(np.float32),
                case=case.case,
                provenance=provenance(folder, config),
            )
    return folder


@pytest.fixture(scope="module")
def alone(run):
    """Evaluate in this process and return the scoreboard's arrays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run.path.parents[1])
        words = ["evaluate", "--name", "small", "--baseline", "persistence"]
        words += ["--baseline", "climatology"]
        CliRunner().invoke(app, words, catch_exceptions=False)
    return scoreboard(run)


def scoreboard(run):
    with np.load(run.evaluation / "scoreboard.npz") as file:
        return dict(file)


def test_baselines_are_scored_by_name_on_the_same_cases(run, alone):
    tables = json.loads((run.evaluation / "scores.json").read_text())
    members = {name: entry["members"] for name, entry in tables["systems"].items()}
    assert members == {"PreDiff": 3, "persistence": 1, "climatology": 3}
    assert tables["cases"] == len(alone["PreDiff/cases"]) >= 4
    assert "PreDiff minus climatology" in tables["comparisons"]


def test_two_ranks_give_every_score_to_the_last_bit(run, alone, monkeypatch):
    monkeypatch.chdir(run.path.parents[1])
    (run.evaluation / "made_from.json").unlink()
    (run.evaluation / "scoreboard.npz").unlink()
    code = launch(
        ["prediff", "evaluate", "--name", "small"],
        workers=2,
        log_dir=run.log,
        stop_file=run.stop_file,
        port=None,
    )
    assert code == 0
    found = scoreboard(run)
    assert found.keys() == alone.keys()
    for name, values in alone.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "prediff2023"], "protocol 'prediff2023' needs context_frames = 7"),
        (["--protocol", "prediff2024"], "did you mean 'prediff2023'"),
        (["--set", "forecast.steps=3"], "is of other weights or settings: run `prediff forecast"),
        (["--baseline", "luck"], "baselines"),
        (["--baseline", "persistence", "--baseline", "persistence"], "names one twice"),
    ],
)
def test_protocols_and_baselines_that_do_not_fit_are_refused(
    run, alone, monkeypatch, words, message
):
    monkeypatch.chdir(run.path.parents[1])
    saved = run.config.read_text()
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(app, ["evaluate", "--name", "small", *words], catch_exceptions=False)
    run.config.write_text(saved)
