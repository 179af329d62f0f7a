import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from profiling import guard
from profiling.guard import measured, slower, unpack

ROOT = Path(__file__).parents[2]
SLOW_GELU = """

_Quick = BiasGelu


class BiasGelu(_Quick):
    def construct(self, x, bias):
        for _ in range(6):
            x = x + 1e-9 * _Quick.construct(self, x, bias)
        return x
"""


def test_only_what_is_slower_in_every_turn_counts():
    old = [{"a": 1.0, "b": 1.0, "gone": 1.0}, {"a": 1.2, "b": 1.0, "gone": 1.0}]
    new = [{"a": 1.9, "b": 1.1, "new": 9.0}, {"a": 1.5, "b": 5.0, "new": 9.0}]
    assert slower(old, new, tolerance=0.2) == {"a": 1.5 / 1.2 - 1}
    assert slower(old, new, tolerance=0.3) == {}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="sources without their history")
def test_a_commit_that_is_not_there_is_refused_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "profiling", "guard", "--against", "nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: git archive nowhere")
    assert done.stderr.count("\n") == 1


def test_an_operator_that_was_made_slow_is_found(tmp_path):
    for package in ("hpc", "prediff", "profiling"):
        shutil.copytree(ROOT / package, tmp_path / package)
    with (tmp_path / "hpc" / "ops" / "activation.py").open("a") as file:
        file.write(SLOW_GELU)
    old, new = (measured(root, only="gelu,linear") for root in (ROOT, tmp_path))
    assert "gelu" in slower([old], [new], tolerance=0.5)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="sources without their history")
def test_another_commits_sources_get_the_benchmarks_of_now(tmp_path):
    unpack("HEAD", tmp_path)
    assert (tmp_path / "hpc" / "errors.py").exists()
    ours = (ROOT / "profiling" / "benchmarks" / "ratios.py").read_text()
    assert (tmp_path / "profiling" / "benchmarks" / "ratios.py").read_text() == ours


@pytest.mark.parametrize(("tolerance", "code"), [(0.1, 1), (0.3, None)])
def test_the_tolerance_that_is_given_decides(monkeypatch, tmp_path, tolerance, code):
    stored = tmp_path / "stored.json"
    stored.write_text(json.dumps({"turns": [{"gelu": 1.0}]}))
    monkeypatch.setattr(guard, "STORED", stored)
    monkeypatch.setattr(guard, "measured", lambda root, only: {"gelu": 1.2})
    if code is None:
        guard.main(turns=1, tolerance=tolerance)
        return
    with pytest.raises(typer.Exit) as ended:
        guard.main(turns=1, tolerance=tolerance)
    assert ended.value.exit_code == code
