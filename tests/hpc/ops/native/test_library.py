"""Building native libraries: once, whole or not at all, and never a crash without a compiler."""

import ctypes
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpc.ops.cuboid_attention import native, op
from hpc.ops.cuboid_attention.geometry import cuboid_geometry
from hpc.ops.native.library import LibraryUnavailable, build_library

FLAGS = ("-fPIC", "-shared")
GEOMETRY = {"data": (4, 2, 2), "cuboid_size": (4, 1, 1)}


def write_source(folder: Path, answer: int) -> Path:
    source = folder / "answer.cpp"
    source.write_text(
        f'#include "answer.h"\nextern "C" int answer() {{ return {answer} + ONE; }}\n'
    )
    (folder / "answer.h").write_text("#define ONE 1\n")
    return source


def build(source: Path, folder: Path) -> Path:
    return build_library(
        name="answer", sources=[source], include=[source.parent], flags=FLAGS, folder=folder
    )


def test_a_change_of_source_or_header_is_a_new_library(tmp_path):
    library = build(write_source(tmp_path, 41), tmp_path / "cache")
    assert ctypes.CDLL(str(library)).answer() == 42
    assert build(tmp_path / "answer.cpp", tmp_path / "cache") == library
    (tmp_path / "answer.h").write_text("#define ONE 2\n")
    other = build(tmp_path / "answer.cpp", tmp_path / "cache")
    assert other != library
    assert ctypes.CDLL(str(other)).answer() == 43


def test_an_existing_library_is_not_built_again(tmp_path):
    source = write_source(tmp_path, 41)
    library = build(source, tmp_path / "cache")
    before = library.stat().st_mtime_ns
    assert build(source, tmp_path / "cache").stat().st_mtime_ns == before


def test_processes_that_build_at_once_all_get_a_whole_library(tmp_path):
    source = write_source(tmp_path, 41)
    script = (
        "import ctypes, sys\nfrom pathlib import Path\n"
        "from hpc.ops.native.library import build_library\n"
        "source, folder = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "path = build_library(name='answer', sources=[source], include=[source.parent],\n"
        "    flags=('-fPIC', '-shared'), folder=folder)\n"
        "assert ctypes.CDLL(str(path)).answer() == 42\n"
    )
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "cache")]
    ranks = [subprocess.Popen(command) for _ in range(4)]
    assert [rank.wait(timeout=60) for rank in ranks] == [0] * 4
    assert len(list((tmp_path / "cache").glob("*.so"))) == 1


def test_a_failed_compilation_names_the_error_and_leaves_nothing(tmp_path):
    source = tmp_path / "broken.cpp"
    source.write_text("int answer() { return unknown_name; }\n")
    with pytest.raises(LibraryUnavailable, match="unknown_name"):
        build(source, tmp_path / "cache")
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [".answer.lock"]


def test_a_missing_compiler_is_named(tmp_path):
    with pytest.raises(LibraryUnavailable, match="no C\\+\\+ compiler `no-such-compiler`"):
        build_library(
            name="answer",
            sources=[write_source(tmp_path, 1)],
            include=[tmp_path],
            compiler="no-such-compiler",
        )


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path):
    occupied = tmp_path / "cache"
    occupied.write_text("a file where the folder should be")
    with pytest.raises(LibraryUnavailable, match="cache folder"):
        build(write_source(tmp_path, 41), occupied)


def test_attention_without_a_compiler_is_the_reference_and_says_why(monkeypatch, caplog):
    native.native_library.cache_clear()
    op._log_once.cache_clear()
    monkeypatch.setenv("PATH", os.devnull)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            made = op.CuboidAttention(cuboid_geometry(**GEOMETRY), heads=1, width=16)
            assert made.backend == "reference"
    assert [r.message for r in caplog.records if "compiler" in r.message] == [
        "cuboid attention is computed by the reference composition: "
        "there is no C++ compiler `g++` on the PATH"
    ]


def test_of_processes_that_build_at_once_one_compiles(tmp_path):
    source = write_source(tmp_path, 41)
    compiler = tmp_path / "counted"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] || echo >>"$0.runs"\nexec g++ "$@"\n')
    compiler.chmod(0o755)
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from hpc.ops.native.library import build_library\n"
        "source, folder, compiler = map(Path, sys.argv[1:])\n"
        "build_library(name='answer', sources=[source], include=[source.parent],\n"
        "    flags=('-fPIC', '-shared'), folder=folder, compiler=str(compiler))\n"
    )
    command = [sys.executable, "-c", script, *map(str, (source, tmp_path / "cache", compiler))]
    ranks = [subprocess.Popen(command) for _ in range(4)]
    assert [rank.wait(timeout=60) for rank in ranks] == [0] * 4
    assert (tmp_path / "counted.runs").read_text() == "\n"


def test_a_killed_builder_leaves_no_lock(tmp_path):
    source, cache = write_source(tmp_path, 41), tmp_path / "cache"
    cache.mkdir(mode=0o700)
    script = (
        "import fcntl, sys, time\nlock = open(sys.argv[1], 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(cache / ".answer.lock")], stdout=subprocess.PIPE
    )
    assert holder.stdout.readline()
    holder.kill()
    holder.wait()
    assert build(source, cache).exists()


def test_the_cache_is_made_for_its_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        library = build(write_source(tmp_path, 41), tmp_path / "home" / "cache")
    finally:
        os.umask(before)
    assert library.parent.stat().st_mode & 0o777 == 0o700
    assert library.parent.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["folder", "library", "link", "owner"])
def test_a_library_that_others_can_have_put_there_is_not_loaded(tmp_path, planted):
    source = write_source(tmp_path, 41)
    library = build(source, tmp_path / "cache")
    if planted == "folder":
        library.parent.chmod(0o777)
    elif planted == "library":
        library.chmod(0o775)
    elif planted == "link":
        library.rename(tmp_path / "elsewhere.so")
        library.symlink_to(tmp_path / "elsewhere.so")
    elif os.geteuid() == 0:
        os.chown(library, 12345, 12345)
    else:
        pytest.skip("only root can give files away")
    with pytest.raises(LibraryUnavailable, match="nothing is loaded from there"):
        build(source, tmp_path / "cache")


def test_a_tmpdir_that_is_not_there_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/scratch/job.12345")
    assert build(write_source(tmp_path, 41), tmp_path / "cache").exists()
