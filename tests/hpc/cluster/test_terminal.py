"""A terminal that is gone or a full disk is no reason to end a job."""

import os
import subprocess
import sys

import pytest

from hpc.cluster.terminal import LogFollower, end_of

SCRIPT = """
import sys
from pathlib import Path
from hpc.cluster.terminal import LogFollower, say
follower = LogFollower(Path(sys.argv[1]))
follower.copy()
say("a line")
follower.copy()
print("more", flush=True)
Path(sys.argv[1]).with_name("went_on").touch()
"""


@pytest.mark.parametrize("kind", ["full disk", "closed pipe"])
def test_output_that_cannot_be_written_is_left_out(tmp_path, kind):
    log = tmp_path / "log"
    log.write_text("something\n")
    command = [sys.executable, "-c", SCRIPT, str(log)]
    if kind == "full disk":
        with open("/dev/full", "wb") as full:
            done = subprocess.run(command, stdout=full, stderr=full, timeout=60)
        code = done.returncode
    else:
        reading, writing = os.pipe()
        os.close(reading)
        code = subprocess.run(command, stdout=writing, stderr=writing, timeout=60).returncode
        os.close(writing)
    assert code == 0
    assert (tmp_path / "went_on").exists()


def test_what_is_new_in_a_log_is_shown_once(tmp_path, capfd):
    log = tmp_path / "log"
    follower = LogFollower(log)
    follower.copy()
    for text in ("one\n", "two\n"):
        with log.open("a") as stream:
            stream.write(text)
        follower.copy()
    assert capfd.readouterr().out == "one\ntwo\n"


def test_the_end_of_a_long_log_is_read_without_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr("hpc.cluster.terminal.TAIL_BYTES", 4)
    (tmp_path / "log").write_text("begin end")
    assert end_of(tmp_path / "log") == " end"
    assert end_of(tmp_path / "absent") == ""
