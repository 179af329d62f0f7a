"""launch/env.sh, with a Python that only pretends to install."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PYTHON = """#!/bin/bash
# python3.11 -c ... | -m venv [--clear] FOLDER | -m pip install ...
[ "$1" = -c ] && exit 0
if [ "$2" = venv ]; then
  folder="${@: -1}"
  [ "$3" = --clear ] && rm -rf "$folder"
  mkdir -p "$folder/bin"
  cp "$0" "$folder/bin/python"
  echo "VIRTUAL_ENV=\\"$folder\\"; export VIRTUAL_ENV" >"$folder/bin/activate"
  exit 0
fi
echo installed >>"$COUNT"
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    root = tmp_path / "checkout"
    (root / "launch").mkdir(parents=True)
    shutil.copy(PROJECT / "launch/env.sh", root / "launch")
    for name in ("pyproject.toml", "constraints.txt"):
        (root / name).write_text(name)
    python = tmp_path / "bin/python3.11"
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)
    return root


def source(root: Path, **variables: str) -> subprocess.CompletedProcess:
    bare = {k: v for k, v in os.environ.items() if not k.startswith("PREDIFF_")}
    path = f"{root.parent / 'bin'}:/usr/bin:/bin"
    return subprocess.run(
        ["bash", "-c", f"source '{root}/launch/env.sh' && echo active $VIRTUAL_ENV"],
        env={**bare, "PATH": path, "COUNT": str(root.parent / "count"), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def installations(root: Path) -> int:
    count = root.parent / "count"
    return count.read_text().count("installed") if count.exists() else 0


def test_it_installs_once(checkout):
    for _ in range(2):
        done = source(checkout)
        assert done.stdout == f"active {checkout / '.venv'}\n", done.stderr
    assert installations(checkout) == 1
    (checkout / "constraints.txt").write_text("others")
    source(checkout)
    assert installations(checkout) == 2


@pytest.mark.parametrize("place", ["not there", "full"])
def test_a_useless_tmpdir_is_no_reason_to_install_again(checkout, tmp_path, place):
    source(checkout)
    # /dev/full is no folder: nothing can be made in it
    done = source(checkout, TMPDIR="/scratch/job.12345" if place == "not there" else "/dev/full")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert installations(checkout) == 1


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_moved_or_copied_checkout_gets_its_own_environment(checkout, how):
    source(checkout)
    other = checkout.with_name("other")
    if how == "moved":
        checkout.rename(other)
    else:
        shutil.copytree(checkout, other)
    done = source(other)
    assert done.stdout == f"active {other / '.venv'}\n"
    assert "is made anew" in done.stderr
    assert installations(other) == 2
    assert source(other).stderr == ""


def test_others_can_read_what_says_that_it_is_installed(checkout):
    source(checkout)
    stamp = checkout / ".venv/installed.stamp"
    assert stamp.stat().st_mode & 0o777 == 0o644
    stamp.chmod(0o600)  # of an earlier version
    source(checkout)
    assert stamp.stat().st_mode & 0o044 == 0o044


def test_code_that_everybody_may_write_is_not_run(checkout, tmp_path):
    venv = tmp_path / "venv"
    source(checkout, PREDIFF_VENV=str(venv))
    (venv / "bin/activate").write_text(f"touch {tmp_path}/planted")
    venv.chmod(0o777)
    done = source(checkout, PREDIFF_VENV=str(venv))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "choose another PREDIFF_VENV" in done.stderr
    assert not (tmp_path / "planted").exists()


def test_a_planted_lock_empties_no_file(checkout, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "venv.lock").symlink_to(precious)
    assert source(checkout, PREDIFF_VENV=str(tmp_path / "venv")).returncode == 2
    assert precious.read_text() == "mine"
