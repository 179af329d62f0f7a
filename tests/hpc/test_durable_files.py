import ast
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpc.durable_files import (
    aside_path,
    open_new,
    remove_folder,
    remove_leftovers,
    replace_file,
    replace_folder,
    storage_errors_as_advice,
    write_durably,
)
from hpc.errors import UserError


def fill(folder):
    (folder / "deep").mkdir()
    (folder / "a").write_text("a")
    (folder / "deep" / "b").write_text("b")


def write_with_a_library(path):
    with replace_file(path) as aside:
        aside.write_text("new")


def write_folder(path):
    with replace_folder(path) as aside:
        fill(aside)


def write_folder_over(path):
    with replace_folder(path, overwrite=True) as aside:
        fill(aside)


WAYS = [
    lambda path: write_durably(path, "new"),
    write_with_a_library,
    write_folder,
    write_folder_over,
]


@pytest.mark.parametrize("write", WAYS)
def test_content_is_on_the_disk_before_its_name_and_its_name_before_the_return(
    tmp_path, disk_watch, write
):
    write(tmp_path / "thing")
    assert disk_watch.renamed_to == [tmp_path / "thing"]
    disk_watch.assert_power_cut_safe()
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_an_older_folder_goes_only_when_the_new_one_is_whole(tmp_path, disk_watch):
    write_folder(tmp_path / "thing")
    with (
        pytest.raises(FileNotFoundError),
        replace_folder(tmp_path / "thing", overwrite=True) as new,
    ):
        (new / "a").read_text()
    assert (tmp_path / "thing" / "a").read_text() == "a"
    with replace_folder(tmp_path / "thing", overwrite=True) as aside:
        (aside / "c").write_text("c")
    assert [path.name for path in (tmp_path / "thing").iterdir()] == ["c"]
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
    disk_watch.assert_power_cut_safe()


def test_a_folder_that_holds_something_is_not_replaced_unasked(tmp_path):
    write_folder(tmp_path / "thing")
    with pytest.raises(OSError, match="not empty"):
        write_folder(tmp_path / "thing")
    assert (tmp_path / "thing" / "deep" / "b").read_text() == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    write_folder(tmp_path / "thing")

    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="Input/output"):
        write_folder_over(tmp_path / "thing")
    assert (tmp_path / "thing" / "a").read_text() == "a"


@pytest.mark.parametrize("write", WAYS[:2])
def test_a_failure_leaves_the_old_file_and_nothing_aside(tmp_path, monkeypatch, write):
    write_durably(tmp_path / "thing", "old")

    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "thing")
    assert (tmp_path / "thing").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_a_link_or_a_file_under_the_new_name_is_never_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("victim", "link", "dangling"):
        with pytest.raises(FileExistsError):
            open_new(tmp_path / name)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_the_target_of_a_link_is_replaced_not_the_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_with_a_library(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    child = "import sys; from pathlib import Path; from hpc.durable_files import aside_path\n"
    child += "aside_path(Path(sys.argv[1])).mkdir(); print(flush=True); input()"
    writer = subprocess.Popen(
        [sys.executable, "-c", child, tmp_path / "thing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    writer.stdout.readline()
    (left,) = tmp_path.iterdir()
    assert remove_leftovers(tmp_path, "thing", sole_writer=True) == []
    writer.communicate(b"\n")
    assert remove_leftovers(tmp_path, "other", sole_writer=True) == []
    assert remove_leftovers(tmp_path, "thing") == [left]
    assert not left.exists()


def test_what_another_host_left_goes_only_where_there_is_one_writer(tmp_path):
    elsewhere = tmp_path / ".thing.0123456789-5-77-ab.aside"
    older = tmp_path / ".thing.tmp-host-5"  # of another version of this software
    for path in (elsewhere, older):
        path.touch()
    assert remove_leftovers(tmp_path, "thing") == []
    assert set(remove_leftovers(tmp_path, "thing", sole_writer=True)) == {elsewhere, older}


def test_a_process_number_that_was_given_again_does_not_keep_a_leftover(tmp_path):
    name = aside_path(tmp_path / "thing").name
    left = tmp_path / name.replace(f"-{os.getpid()}-", f"-{os.getpid()}-9")
    left.touch()
    assert remove_leftovers(tmp_path, "thing") == [left]


def test_a_folder_that_is_removed_is_first_no_longer_there(tmp_path, monkeypatch):
    write_folder(tmp_path / "thing")
    monkeypatch.setattr("shutil.rmtree", lambda path: None)  # killed before it removed anything
    remove_folder(tmp_path / "thing")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".thing.")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space and run the same command again; half is kept"),
        (errno.EROFS, "Choose another place"),
    ],
)
def test_storage_errors_become_one_line_with_advice(tmp_path, number, advice):
    with (
        pytest.raises(UserError, match=f"cannot write {tmp_path}: .*{advice}$"),
        storage_errors_as_advice(tmp_path, kept="half is kept"),
    ):
        raise OSError(number, "text of the system")


def _renames(tree):
    """Calls such as ``os.replace(a, b)`` and ``path.rename(b)``, not those of text and xarray."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            of_path = len(node.args) == 1 and not re.search("frame|array|dataset", owner)
            if node.func.attr in ("rename", "replace") and (owner == "os" or of_path):
                yield node


@pytest.mark.parametrize("package", ["hpc", "prediff", "profiling"])
def test_nothing_else_renames_a_file(package):
    root = Path(__file__).parents[2]
    for file in (root / package).rglob("*.py"):
        if file != root / "hpc" / "durable_files.py":
            lines = [node.lineno for node in _renames(ast.parse(file.read_text()))]
            assert not lines, f"{file}:{lines[0]} renames: let hpc.durable_files do it"
