"""The scoreboard: no split changes a number, wrong input is refused, files hold what tables say."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from verification_oracles import storms

from hpc.errors import UserError
from prediff.evaluation.report import CasePictures, write_report
from prediff.forecasting.guidance_response import intensity_figure
from prediff.pictures.figures import draw
from prediff.verification import (
    PROTOCOLS,
    Scoreboard,
    compare,
    skill_table,
    write_scores,
)
from prediff.verification.headline import headlines, number

LEAD_MINUTES = (10, 20, 30)
EVENTS = ["R1", "R1", "R2", "S3", "S3", "S3", "S4"]
CASES = [f"{event}:{number}" for number, event in enumerate(EVENTS)]


@pytest.fixture(scope="module")
def arrays():
    shape = (len(EVENTS), len(LEAD_MINUTES), 32, 32)
    truth = storms(3, shape)
    noise = storms(4, (shape[0], 4, *shape[1:]))
    model = np.clip(0.8 * truth[:, None] + 0.3 * noise, 0, 1).astype(np.float32)
    return {"model": model, "persistence": np.roll(truth, 3, axis=-1)[:, None]}, truth


def filled(arrays, parts, **options):
    forecasts, truth = arrays
    board = Scoreboard(lead_minutes=LEAD_MINUTES, **options)
    for part in parts:
        board.update(
            forecasts={name: ensemble[part] for name, ensemble in forecasts.items()},
            observation=truth[part],
            event_ids=[EVENTS[number] for number in part],
            case_ids=[CASES[number] for number in part],
        )
    return board


@pytest.fixture(scope="module")
def whole(arrays):
    return filled(arrays, [list(range(len(EVENTS)))])


@pytest.fixture(scope="module")
def tables(whole):
    return whole.tables(replicates=200)


@pytest.mark.parametrize("seed", range(4))
def test_no_split_over_batches_and_ranks_changes_a_single_bit(arrays, whole, seed):
    generator = np.random.RandomState(seed)
    order = generator.permutation(len(EVENTS)).tolist()
    cuts = sorted(generator.choice(range(1, len(order)), size=3, replace=False).tolist())
    parts = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    board = filled(arrays, parts[:2])
    board.merge(Scoreboard.from_state(filled(arrays, parts[2:]).state()))
    expected, found = whole.state(), board.state()
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_an_empty_rank_may_take_part_in_a_merge(arrays, whole):
    board = Scoreboard(lead_minutes=LEAD_MINUTES)
    board.merge(whole)
    board.merge(Scoreboard(lead_minutes=LEAD_MINUTES))
    assert board.cases == len(CASES)
    assert board.members == {"model": 4, "persistence": 1}


def test_a_saved_scoreboard_gives_the_same_tables(whole, tables, tmp_path):
    whole.save(tmp_path / "board.npz")
    again = Scoreboard.load(tmp_path / "board.npz").tables(replicates=200)
    assert json.dumps(again) == json.dumps(tables)


def test_a_truncated_scoreboard_is_refused(whole, tmp_path):
    path = tmp_path / "board.npz"
    whole.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="not a readable scoreboard"):
        Scoreboard.load(path)


def test_a_file_that_is_no_scoreboard_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "y.npz", a=np.zeros(3))
    for name in ("x.npz", "y.npz", "absent.npz"):
        with pytest.raises(UserError, match="scoreboard"):
            Scoreboard.load(tmp_path / name)


def test_tables_hold_the_plain_numbers(arrays, tables):
    forecasts, truth = arrays
    model = tables["systems"]["model"]
    assert (tables["cases"], tables["events"], model["members"]) == (7, 4, 4)
    error = forecasts["model"].mean(axis=1, dtype=float) - truth
    mse = model["scores"]["ensemble_mean"]["mean_squared_error"]
    assert mse["overall"] == pytest.approx((error**2).mean(), rel=1e-6)
    np.testing.assert_allclose(mse["by_lead_time"], (error**2).mean(axis=(0, 2, 3)), rtol=1e-6)
    assert mse["interval"][0] < mse["overall"] < mse["interval"][1]
    persistence = tables["systems"]["persistence"]
    crps = persistence["scores"]["ensemble"]["fair_continuous_ranked_probability_score"]
    mae = np.abs(forecasts["persistence"][:, 0].astype(float) - truth).mean()
    assert crps["pool_1"]["overall"] == pytest.approx(mae, rel=1e-6)
    assert "plain" in persistence["crps_estimate"]
    assert model["crps_estimate"] == "fair"


def test_undefined_scores_are_null_in_valid_json(tables):
    spread = tables["systems"]["persistence"]["scores"]["ensemble"]["spread"]
    assert spread["overall"] is None
    json.dumps(tables, allow_nan=False)


def test_the_better_system_is_told_from_the_worse(tables):
    found = tables["comparisons"]["model minus persistence"]
    entry = found["ensemble"]["continuous_ranked_probability_score"]["pool_1"]
    assert entry["difference"] < 0
    assert entry["interval"][1] < 0
    # Four events can be swapped in 16 ways, two of them as extreme: about 2/16.
    assert entry["p_value"] == pytest.approx(0.125, abs=0.07)
    pooled = found["members"]["critical_success_index"]["pool_1"]["mean"]
    assert pooled["p_value"] is None


def test_files_hold_every_value_of_the_tables(tables, tmp_path):
    as_json, as_csv = write_scores(tables, tmp_path / "scores")
    assert json.loads(as_json.read_text()) == json.loads(json.dumps(tables))
    with as_csv.open() as file:
        rows = {
            (r["system"], r["of"], r["score"], r["label"], r["lead_minutes"]): r
            for r in csv.DictReader(file)
        }
    csi = tables["systems"]["model"]["scores"]["members"]["critical_success_index"]
    entry = csi["pool_4"]["74"]
    key = ("model", "members", "critical_success_index", "pool_4/74")
    assert float(rows[(*key, "all")]["value"]) == entry["overall"]
    assert float(rows[(*key, "20.0")]["value"]) == entry["by_lead_time"][1]


def test_the_skill_table_shows_all_systems_with_the_best_in_front(tables):
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(skill_table(tables))
    text = console.export_text()
    for words in ("protocol native", "model (4)", "persistence (1)", "fair CRPS (ensemble)"):
        assert words in text
    assert headlines(tables)[0].best(tables) == "model"
    for headline in headlines(tables):
        for system in tables["systems"]:
            shown = number(headline.entry(tables, system)["overall"])
            assert shown in text, f"{headline.title} of {system}"


def test_the_report_is_one_page_with_its_pictures_inside(tables, tmp_path):
    page = write_report(
        tmp_path / "report.html",
        tables=tables,
        title="Run <1>",
        cases=[CasePictures(title="event R1", panel=b"png", animation=b"gif")],
        details={"solver": "ddim"},
    ).read_text()
    for words in (
        "Run &lt;1&gt;",
        "event R1",
        "ddim",
        "model against persistence: better in",
        "native",
    ):
        assert words in page
    assert page.count("data:image/png;base64,") == 8
    assert page.count("data:image/gif;base64,") == 1
    assert "<script" not in page
    assert 'src="http' not in page


def test_the_report_of_a_guided_run_shows_what_was_asked_and_obtained(tables, tmp_path):
    rows = [{"case": "a", "requested": 0.4, "obtained": [0.2, 0.4], "mean": 0.3}]
    drawn = {"guidance": draw(intensity_figure(rows, title="guided"))}
    page = write_report(tmp_path / "r.html", tables=tables, title="x", drawings=drawn).read_text()
    assert "Mean intensity that was asked for" in page


def test_published_rows_stand_beside_results_of_their_protocol_only(arrays, tmp_path, tables):
    assert tables["published"] == []
    board = filled(arrays, [list(range(len(EVENTS)))], protocol=PROTOCOLS["prediff2023"])
    found = board.tables(replicates=20)
    assert {row["system"] for row in found["published"]} >= {"PreDiff", "LDM"}
    page = write_report(tmp_path / "r.html", tables=found, title="x", drawings={}).read_text()
    assert "0.4100" in page
    assert "Gao et al. 2023, table 2" in page


def test_results_of_two_protocols_are_never_compared(arrays, whole):
    other = filled(arrays, [list(range(len(EVENTS)))], protocol=PROTOCOLS["diffcast128"])
    with pytest.raises(UserError, match=r"'native' cannot be compared with .* 'diffcast128'"):
        compare(whole, other, systems=("model", "model"))
    with pytest.raises(UserError, match="cannot be compared"):
        filled(arrays, [[0]]).merge(other)


def test_two_runs_are_compared_on_the_same_cases_only(arrays, whole):
    same = compare(whole, whole, systems=("model", "model"), replicates=50)
    entry = same["ensemble_mean"]["mean_squared_error"]
    nothing = [0.0] * len(LEAD_MINUTES)
    assert entry == {
        "difference": 0.0,
        "interval": [0.0, 0.0],
        "p_value": 1.0,
        "by_lead_time": nothing,
        "interval_by_lead_time": [nothing, nothing],
    }
    part = filled(arrays, [[0, 1, 2, 3, 4]])
    with pytest.raises(UserError, match="not scored on the same cases"):
        compare(whole, part, systems=("model", "model"))
    with pytest.raises(UserError, match="no system 'mode'"):
        compare(whole, whole, systems=("mode", "model"))


def test_a_case_that_comes_twice_is_refused_within_and_across_ranks(arrays):
    board = filled(arrays, [[0, 1]])
    with pytest.raises(UserError, match=r"scored on two ranks"):
        board.merge(filled(arrays, [[1, 2]]))
    with pytest.raises(UserError, match="'R1:1'"):
        filled(arrays, [[0, 1], [1]])


def test_a_refused_batch_adds_nothing(arrays):
    forecasts, truth = arrays
    board = filled(arrays, [[0]])
    before = board.state()
    bad = truth[[1, 2]].copy()
    bad[1] = 200
    with pytest.raises(UserError, match="code / 255"):
        board.update(
            forecasts={name: ensemble[[1, 2]] for name, ensemble in forecasts.items()},
            observation=bad,
            event_ids=["a", "b"],
        )
    for name, values in board.state().items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f, o, e: ({"model": f["model"]}, o, e), "score all systems on the same cases"),
        (lambda f, o, e: ({**f, "model": f["model"][:, :2]}, o, e), "2 members after 4"),
        (lambda f, o, e: (f, o, ["x"]), "1 events"),
        (lambda f, o, e: ({k: v[:, :, :2] for k, v in f.items()}, o[:, :2], e), "2 lead times"),
        (lambda f, o, e: ({k: v[..., :16] for k, v in f.items()}, o, e), "height and width"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_in_one_line(arrays, change, words):
    forecasts, truth = arrays
    board = filled(arrays, [[0]])
    part = {name: ensemble[[1, 2]] for name, ensemble in forecasts.items()}
    forecasts, observation, events = change(part, truth[[1, 2]], ["a", "b"])
    with pytest.raises(UserError, match=words) as caught:
        board.update(forecasts=forecasts, observation=observation, event_ids=events)
    assert "\n" not in str(caught.value)


def test_tables_of_nothing_are_refused_and_of_one_event_have_no_interval(arrays):
    one = filled(arrays, [[0, 1]]).tables(replicates=20)
    assert one["comparisons"] == {}
    mse = one["systems"]["model"]["scores"]["ensemble_mean"]["mean_squared_error"]
    assert mse["overall"] > 0
    assert mse["interval"] == [None, None]
    empty = Scoreboard(lead_minutes=LEAD_MINUTES).tables()
    assert empty["systems"] == {}


def test_frames_below_the_largest_pooling_need_a_protocol_without_it(arrays):
    small = {"model": np.zeros((1, 2, 3, 8, 8), np.float32)}
    truth = np.zeros((1, 3, 8, 8), np.float32)
    with pytest.raises(UserError, match="pooling by 16"):
        Scoreboard(lead_minutes=LEAD_MINUTES).update(
            forecasts=small, observation=truth, event_ids=["a"]
        )
    protocol = replace(PROTOCOLS["native"], poolings=(1, 4))
    board = Scoreboard(lead_minutes=LEAD_MINUTES, protocol=protocol)
    board.update(forecasts=small, observation=truth, event_ids=["a"])
    assert board.cases == 1
