"""An evaluation scores what can be scored, says what cannot, and tells wins from losses."""

import json

import numpy as np
import pytest
from untrained_run import untrained_run

from hpc.cluster.runtime import ALONE
from hpc.errors import UserError
from prediff.data.open_data import open_split
from prediff.evaluation.evaluate import evaluate, is_evaluated
from prediff.evaluation.verdict import duels, verdict
from prediff.forecasting.file import write_forecast
from prediff.forecasting.test_set import chosen_cases, provenance

EVENTS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Forecasts that are the truth with some noise: better than persistence."""
    folder, config = untrained_run(tmp_path_factory.mktemp("run") / "made", data=True)
    random = np.random.default_rng(3)
    with open_split(folder, config, "test") as windows:
        cases = chosen_cases(config, windows)
        for case in cases:
            truth = windows.read_windows([case.window])[0, config.data.context_frames :, ..., 0]
            noise = random.normal(0, 0.02, (3, *truth.shape))
            write_forecast(
                case.path(folder),
                ensemble_MTHW=(truth + noise).astype(np.float32),
                case=case.case,
                provenance=provenance(folder, config),
            )
    return folder, config, cases


def tables_of(folder):
    return json.loads((folder.evaluation / "scores.json").read_text())


@pytest.fixture(scope="module")
def evaluated(run):
    """The same run after an evaluation with one truncated and one unscorable forecast."""
    folder, config, cases = run
    truncated, odd = cases[0].path(folder), cases[1].path(folder)
    kept = truncated.read_bytes(), odd.read_bytes()
    truncated.write_bytes(kept[0][: len(kept[0]) // 2])
    write_forecast(
        odd,
        ensemble_MTHW=np.zeros((3, 2, 8, 8), np.float32),
        case=cases[1].case,
        provenance=provenance(folder, config),
    )
    said: list[str] = []
    evaluate(folder, config, ALONE, say=said.append)
    yield folder, config, cases, said
    truncated.write_bytes(kept[0])
    odd.write_bytes(kept[1])


def test_cases_that_fail_are_named_counted_and_left_out_for_all_systems(evaluated):
    folder, config, cases, said = evaluated
    tables = tables_of(folder)
    assert tables["cases"] == len(cases) - 2
    reasons = {entry["case"]: entry["reason"] for entry in tables["left_out"]}
    assert set(reasons) == {case.case.label for case in cases[:2]}
    assert "do not have the same" in reasons[cases[1].case.label]
    assert f"left out {cases[1].case.label}: {reasons[cases[1].case.label]}" in said
    assert not is_evaluated(folder, config)  # so that a mended forecast is scored
    page = (folder.evaluation / "report.html").read_text()
    assert f"2 of {len(cases)} cases could not be scored" in page
    assert reasons[cases[1].case.label].replace("'", "&#x27;") in page


def test_the_report_says_that_data_are_synthetic_and_how_all_was_made(evaluated):
    folder, _, cases, _ = evaluated
    page = (folder.evaluation / "report.html").read_text()
    assert "SYNTHETIC DATA" in page
    assert tables_of(folder)["synthetic_data"] is True
    for words in ("synthetic storms", "configuration SHA-256", "mindspore 2.", "test events after"):
        assert words in page
    assert page.index('id="curves"') < page.index('id="cases"')
    for name in ("scores.json", "scores.csv", "roc_PreDiff.png", f"{cases[-1].case.label}.gif"):
        assert f'href="{name}"' in page
        assert (folder.evaluation / name).exists()


def test_the_headline_counts_losses_as_well_as_wins(evaluated):
    folder, *_ = evaluated
    tables = tables_of(folder)
    found = verdict(tables, other="persistence")
    rows = list(duels(tables, other="persistence"))
    assert found.better + found.worse + found.tied <= len(rows)
    assert found.better > found.worse
    assert 0.5 < found.crps_skill < 1
    swapped = json.loads(json.dumps(tables))
    for entry in walk(swapped["comparisons"]["PreDiff minus persistence"]):
        entry["difference"] = None if entry["difference"] is None else -entry["difference"]
        entry["interval"] = [None if b is None else -b for b in reversed(entry["interval"])]
    mirrored = verdict(swapped, other="persistence")
    assert (mirrored.better, mirrored.worse) == (found.worse, found.better)
    assert mirrored.significantly_worse == found.significantly_better
    assert found.sentence in (folder.evaluation / "report.html").read_text()


def walk(table):
    if "difference" in table:
        yield table
        return
    for inner in table.values():
        yield from walk(inner)


def test_an_evaluation_of_nothing_but_failures_is_refused(run, monkeypatch):
    folder, config, cases = run
    monkeypatch.setattr(
        "prediff.evaluation.evaluate._score", lambda *a: (_ for _ in ()).throw(ValueError("odd"))
    )
    with pytest.raises(UserError, match=f"none of {len(cases)} cases .*ValueError: odd"):
        evaluate(folder, config, ALONE)
