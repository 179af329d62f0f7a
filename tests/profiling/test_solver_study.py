"""The solver study from its command to its files, on networks that learned nothing."""

import csv
import json
import os

import pytest
from untrained_run import untrained_run

from hpc.errors import UserError
from profiling.__main__ import main

WORDS = [
    *("--cases", "2", "--members", "3", "--batch", "3", "--replicates", "20"),
    *("--solver", "dpmpp", "--solver", "heun", "--solver", "euler"),
    *("--steps", "2", "--steps", "3", "--reference-steps", "4"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder, _ = untrained_run(
        tmp_path_factory.mktemp("runs") / "small",
        "data.frame_size=32",
        "autoencoder.widths=[4, 8, 8]",
        data=True,
    )
    return folder.path


def study(monkeypatch, run, *words):
    monkeypatch.setattr("sys.argv", ["profiling", "solver-study", str(run), *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


@pytest.fixture(scope="module")
def out(run):
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert study(monkeypatch, run, *WORDS) == 0
    return run / "solver_study"


def test_every_solver_is_compared_with_the_reference_on_the_same_cases(out):
    found = json.loads((out / "study.json").read_text())
    rows = {(row["solver"], row["steps"]): row for row in found["rows"]}
    assert list(rows) == [("ddpm", 4), ("dpmpp", 2), ("dpmpp", 3), ("heun", 2), ("heun", 3)]
    assert found["reference"] == "ddpm_4"
    assert (found["cases"], found["events"], found["members"]) == (2, 2, 3)
    assert rows["heun", 3]["network_calls"] == 5
    crps = "fair CRPS (ensemble)"
    reference, other = (rows[key]["scores"][crps] for key in (("ddpm", 4), ("dpmpp", 2)))
    assert reference["minus_reference"] is None
    assert other["minus_reference"] == pytest.approx(other["value"] - reference["value"])
    low, high = other["interval_of_difference"]
    assert low <= other["minus_reference"] <= high
    for row in rows.values():
        assert row["cpu_seconds"] > 0
        assert row["seconds"] * row["times_faster"] == pytest.approx(rows["ddpm", 4]["seconds"])


def test_what_does_not_fit_the_run_is_left_out_with_its_reason(out):
    found = json.loads((out / "study.json").read_text())
    assert set(found["left_out"]) == {"euler_2", "euler_3"}
    assert "does not fit a denoiser trained by diffusion" in found["left_out"]["euler_2"]
    assert "Left out: euler_2" in (out / "study.md").read_text()


def test_table_csv_and_picture_are_written(out):
    lines = (out / "study.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 5
    assert len({line.count("|") for line in table}) == 1
    with (out / "study.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 5
    assert {row["score"] for row in rows} >= {"fair CRPS (ensemble)", "small-scale power (members)"}
    assert (out / "study.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_computes_nothing_again_and_a_damaged_result_once(
    out, run, monkeypatch, capsys
):
    damaged = sorted(out.glob("dpmpp_3_*.npz"))[1]
    damaged.write_bytes(b"torn")
    kept = {path: os.stat(path).st_mtime_ns for path in out.glob("*_*.json")}
    assert len(kept) == 5 * 2
    assert study(monkeypatch, run, *WORDS) == 0
    said = capsys.readouterr().out
    assert said.count("min left") == said.count("dpmpp 3: ") == 1
    changed = {path for path, time in kept.items() if os.stat(path).st_mtime_ns != time}
    assert changed == {damaged.with_suffix(".json")}


def test_an_early_end_reports_the_cases_that_every_solver_has(out, run, monkeypatch, capsys):
    first, second = sorted(out.glob("heun_3_*.npz"))
    for removed, code, said in ((second, 0, "1 cases of 1 events"), (first, 2, "are too few")):
        removed.unlink()
        assert study(monkeypatch, run, *WORDS, "--minutes", "0") == code
        output = capsys.readouterr()
        assert said in output.out + output.err


def test_bad_input_is_one_line(run, monkeypatch, capsys):
    assert study(monkeypatch, run.parent / "absent") == 2
    assert study(monkeypatch, run, "--reference-steps", "2000") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("error: ") for line in errors)
    assert issubclass(UserError, ValueError)
