"""One rule for names that become files: no name leaves its folder or reaches a terminal raw."""

from pathlib import Path

import pytest

from hpc.errors import LONGEST_LINE, UserError, one_line
from prediff.names import check_name, is_name, join_inside
from prediff.run_folder import existing_run, find_run, open_run

BAD = (
    "", ".", "..", ".hidden", "-x", "--help", "a/b", "../x", "/tmp/x", "a\\b", "a b", "a;id",
    "a\nb", "a\n", "\x1b[2J", "con\0x", "ä", "\uff41", "$(id)", "a" * 101, "a:b", "*", "~",
    "a\u202eb",
)  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_refused_in_one_line_wherever_it_comes_from(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_name(name)
    for refused in (
        lambda: check_name(name, what="id"),
        lambda: join_inside(Path("runs"), name, what="id"),
        lambda: open_run(name=name, config=None, data=None, overrides=()),
        lambda: existing_run(name, what="--name"),
    ):
        with pytest.raises(UserError, match="use up to 100 of the letters") as caught:
            refused()
        assert one_line(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "_a", "0", "first.run-2_b", "S851130", "a..b", "a" * 100])
def test_ordinary_names_stay_what_they_are(name):
    assert join_inside(Path("runs"), name, what="--name", suffix=".nc") == Path(f"runs/{name}.nc")


def test_a_run_is_found_by_path_wherever_it_is_but_by_name_only_below_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _ = open_run(name="first", config=None, data=None, overrides=())
    folder.path.rename("my run")
    assert find_run("my run").path == tmp_path / "my run"
    with pytest.raises(UserError, match="no run at"):
        find_run("first")


def test_a_link_at_the_place_of_the_partial_file_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine"
    mine.write_text("precious")
    team = tmp_path / "runs/team"
    team.mkdir(parents=True)
    for name in ("config.yaml.partial", ".config.yaml.partial", "config.yaml"):
        (team / name).symlink_to(mine)
    with pytest.raises(UserError):  # what the link at config.yaml shows is no configuration
        open_run(name="team", config=None, data=None, overrides=())
    (team / "config.yaml").unlink()
    open_run(name="team", config=None, data=None, overrides=())
    assert mine.read_text() == "precious"


def test_an_error_line_is_bounded_and_keeps_its_advice():
    line = one_line("file " + "\x1b" * 10**6 + ": choose another one")
    assert len(line) <= LONGEST_LINE
    assert line.isprintable()
    assert line.startswith("file ")
    assert line.endswith(": choose another one")
    assert one_line("é → 5 °C, 値") == "é → 5 °C, 値"
    assert one_line("a\nb\udc80\u202e\x9b") == "a\\nb\\udc80\\u202e\\x9b"
