"""Whether this host is ready to train on its NPUs: the questions of the first hour on a cluster.

Every check is a line that passes, fails with what to do about it, or could not be asked. Questions
about files come first; then a process of its own asks the device (`hpc.cluster.ascend_probe`), so
that a device that hangs or a library that crashes costs one line, not the answer.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hpc.cluster.failure_codes import explain
from hpc.environment import NPU_DEVICES, is_stand_in

CANN_OF = {
    "2.8": ("8.2", "8.3", "8.5"),
    "2.9": ("8.5", "9.0", "9.1"),
    "2.10": ("8.5", "9.0", "9.1"),
}
"""CANN that each MindSpore takes without a warning. 2.8 as in the installed wheel of 2.8.0
(`run_check/_check_version.py`); 2.9 and 2.10 by hand and partly from general knowledge, compared by
no test."""
DRIVER = Path("/usr/local/Ascend/driver/version.info")


@dataclass(frozen=True)
class Answer:
    """One line of the page."""

    question: str
    is_good: bool | None
    """None: could not be asked."""
    text: str

    def __str__(self) -> str:
        word = {True: "pass", False: "FAIL", None: "skip"}[self.is_good]
        return f"{word}  {self.question}: {self.text}"


def check_host(*, timeout: float = 300.0) -> list[Answer]:
    """Return the answers of this host, the cheap ones first.

    The device is asked only where nothing before has failed.

    Args:
        timeout: seconds that the device may take to answer; the first use compiles.
    """
    answers = [_devices(), _driver(DRIVER), _mindspore(), _cann(os.environ)]
    if any(answer.is_good is False for answer in answers):
        return [*answers, Answer("device", None, "not asked: mend the above first")]
    return [*answers, *_ask_device(timeout=timeout)]


def _devices() -> Answer:
    found = sorted(path.name for path in NPU_DEVICES.glob("davinci[0-9]*"))
    if not found:
        return Answer("devices", False, f"no {NPU_DEVICES}/davinci*: no NPU, or no driver")
    unreadable = [name for name in found if not os.access(NPU_DEVICES / name, os.R_OK)]
    if unreadable:
        advice = "join the group that owns it, or give it to the container"
        return Answer("devices", False, f"no permission to use {unreadable[0]}: {advice}")
    return Answer("devices", True, f"{len(found)} ({found[0]} to {found[-1]})")


def _driver(path: Path) -> Answer:
    try:
        found = _version_in(path)
    except OSError:
        return Answer("driver", None, f"{path} is not there; npu-smi info may tell")
    return Answer("driver", True, found or f"no version in {path}")


def _mindspore() -> Answer:
    try:
        found = version("mindspore")
    except PackageNotFoundError:
        return Answer("MindSpore", False, "not installed: source launch/env.sh")
    is_known = _minor(found) in CANN_OF
    return Answer("MindSpore", is_known, found if is_known else f"{found}: use 2.8 to 2.10")


def _cann(environ: Mapping[str, str]) -> Answer:
    home = environ.get("ASCEND_HOME_PATH")
    if not home:
        return Answer("CANN", False, "ASCEND_HOME_PATH is not set: source its set_env.sh")
    try:
        found = _version_in(Path(home) / "compiler" / "version.info")
    except OSError as error:
        return Answer("CANN", False, f"{error.filename} cannot be read: {error.strerror}")
    if found is None:
        return Answer("CANN", False, f"no version in {home}/compiler/version.info")
    try:
        wanted = CANN_OF.get(_minor(version("mindspore")), ())
    except PackageNotFoundError:
        wanted = ()
    if wanted and _minor(found) not in wanted:
        return Answer("CANN", False, f"{found}: this MindSpore wants {', '.join(wanted)}")
    made_up = " (a STAND-IN, no silicon)" if is_stand_in() else ""
    return Answer("CANN", True, found + made_up)


def _version_in(path: Path) -> str | None:
    match = re.search(r"(?im)^version\s*=\s*([0-9][\w.]*)", path.read_text(errors="replace"))
    return match[1] if match else None


def _minor(number: str) -> str:
    return ".".join(number.split(".")[:2])


def _ask_device(*, timeout: float) -> list[Answer]:
    command = [sys.executable, "-m", "hpc.cluster.ascend_probe"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        advice = "npu-smi info on this host; reset the device or leave the host out"
        return [Answer("device", False, f"no answer in {timeout:.0f} s: {advice}")]
    answers = [
        Answer(question, word == "pass", text)
        for word, question, text in re.findall(r"(?m)^(pass|FAIL)\t(.*)\t(.*)$", done.stdout)
    ]
    if done.returncode == 0 or any(answer.is_good is False for answer in answers):
        return answers
    said = done.stdout + done.stderr
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "nothing was said")
    return [*answers, Answer("device", False, explain(said) or last[:200])]
