"""The page about data shows a complete example; here it is run as it stands there."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prediff.cli import app
from prediff.data.catalog import read_rows

PAGE = Path(__file__).parents[4] / "docs" / "data.md"


def test_the_example_of_the_data_page_makes_a_folder_that_is_sound(tmp_path, monkeypatch):
    pytest.importorskip("pyproj")
    text = PAGE.read_text().split("## Your own radar in ten minutes")[1]
    (script,) = re.findall(r"```python\n(.*?)```", text.split("## Quantities")[0], re.DOTALL)
    commands = re.findall(r"^prediff (data .*)$", text.split("## Quantities")[0], re.MULTILINE)
    assert len(commands) == 3
    monkeypatch.chdir(tmp_path)
    exec(compile(script, str(PAGE), "exec"), {})
    printed = [
        CliRunner().invoke(app, shlex.split(command), catch_exceptions=False)
        for command in commands
    ]
    assert [result.exit_code for result in printed] == [0, 0, 0]
    assert "36 files with 36 images; 3 windows of 36 images, 5 minutes apart" in printed[0].output
    assert "No problem found." in printed[2].output
    rows = read_rows(tmp_path / "mydata")
    assert {row.quantity for row in rows} == {"reflectivity"}
    assert len(rows) > 3
