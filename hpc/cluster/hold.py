"""Who works on a run: one start at a time, and which.

    runs/NAME/starts/000042.json    host, process, job and time of the 42nd start

A start takes the next number by making a file that must not exist yet, which is safe on every file
system. It does so only when the newest start has ended: said so, or its process is gone (same
host), or Slurm ended its job, or it gave no sign for as long as it promised one (another host). A
start that was wrongly taken for dead finds a higher number and writes nothing (`hpc.fence`).
"""

import atexit
import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from hpc import fence
from hpc.durable_files import write_at_once
from hpc.errors import UserError
from hpc.process_identity import process_tag, tag_is_alive

FOLDER = "starts"
SIGN_SECONDS = 5.0
PROMISED_SECONDS = 60.0
"""How long a holder on another host may be silent; one that compiles may hold Python's lock."""
KEPT_STARTS = 20
POLL_SECONDS = 2.0
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Hold:
    """The right of one start to write into a run, until `release` or the end of the process."""

    def __init__(self, folder: Path, number: int, record: dict[str, Any]) -> None:
        self.folder, self.number, self._record = folder, number, record
        self._file = fence.start_file(folder, number)
        self._released = threading.Event()
        os.environ[fence.VARIABLE] = f"{number}:{folder}"
        atexit.register(self.release)
        threading.Thread(target=self._give_signs, daemon=True, name="hold").start()

    @property
    def is_mine(self) -> bool:
        """Whether no later start has taken the run."""
        return max(fence.start_numbers(self.folder), default=0) <= self.number

    def release(self) -> None:
        """Let the next start begin at once."""
        if self._released.is_set() or self._record["process"] != process_tag():
            return
        self._released.set()
        os.environ.pop(fence.VARIABLE, None)
        _held.pop(self.folder, None)
        with suppress(OSError):
            write_at_once(self._file, json.dumps({**self._record, "ended": _now()}))

    def _give_signs(self) -> None:
        while not self._released.wait(SIGN_SECONDS):
            with suppress(OSError):
                os.utime(self._file)


_held: dict[Path, Hold] = {}


def hold_run(
    run: Path,
    *,
    what: str,
    wait: bool = False,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> Hold:
    """Take a run for this process, which may hold it already.

    Args:
        run: its folder; made if it is not there.
        what: the command, for those who find the run held.
        wait: until the one who holds it has ended.
        say: tells the user why this takes long.

    Raises:
        UserError: another start holds the run; the line says which.
    """
    folder = (run / FOLDER).resolve()
    if folder in _held:
        return _held[folder]
    told = False
    while True:
        newest = max(fence.start_numbers(folder), default=0)
        holder = _read(fence.start_file(folder, newest)) if newest else None
        if holder is not None and _is_at_work(holder, fence.start_file(folder, newest), say=say):
            who = _describe(newest, holder)
            if not wait:
                raise UserError(
                    f"{run} is held by {who}: wait for it (--wait does), or end it first"
                )
            if not told:
                say(f"waiting for {who}")
            told = True
            time.sleep(POLL_SECONDS)
            continue
        record = {
            "host": socket.gethostname(),
            "process": process_tag(),
            "what": what,
            "job": os.environ.get("SLURM_JOB_ID"),
            "restart": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
            "since": _now(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        if _make(fence.start_file(folder, newest + 1), record):
            _forget_old(folder)
            _held[folder] = Hold(folder, newest + 1, record)
            return _held[folder]


def release_all() -> None:
    """Release whatever this process holds; for one that ends without its exit hooks."""
    for held in list(_held.values()):
        held.release()


def _is_at_work(holder: dict[str, Any], file: Path, *, say: Callable[[str], None]) -> bool:
    if "ended" in holder:
        return False
    alive = tag_is_alive(holder.get("process", "elsewhere-0-0"))
    if alive is not None:
        return alive
    job = holder.get("job")
    if job is not None:
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if job == os.environ.get("SLURM_JOB_ID") and restarts > holder.get("restart", 0):
            return False  # Slurm has ended the start before it requeued the job
        if _slurm_has_ended(job):
            return False
    before = _sign(file)
    deadline = time.monotonic() + PROMISED_SECONDS
    say(
        f"{holder.get('host')} has a start of this run since {holder.get('since')}: looking for up "
        f"to {PROMISED_SECONDS:.0f} s whether it still works"
    )
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 2)
        if _sign(file) != before:
            return True
    return False


def _slurm_has_ended(job: str) -> bool:
    try:
        shown = subprocess.run(
            ["scontrol", "show", "job", job, "--oneliner"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    state = shown.partition("JobState=")[2].split(" ")[0]
    return state in {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PENDING",
        "PREEMPTED",
        "TIMEOUT",
    }


def _describe(number: int, holder: dict[str, Any]) -> str:
    job = f", Slurm job {holder['job']}" if holder.get("job") else ""
    process = holder.get("process", "?-?-?").split("-")[1]
    return (
        f"`{holder.get('what')}` on {holder.get('host')} (process {process}{job}) since "
        f"{holder.get('since')}, start {number}"
    )


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _sign(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except FileNotFoundError:
        return (0, 0)
    return found.st_mtime_ns, found.st_ino


def _make(file: Path, record: dict[str, Any]) -> bool:
    """Make a record whole or not at all; return False if somebody else was faster."""
    aside = file.with_name(f".{uuid.uuid4().hex}")
    try:
        aside.write_text(json.dumps(record))
        os.link(aside, file)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            with open(file, "x") as stream:
                stream.write(json.dumps(record))
        except FileExistsError:
            return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def _forget_old(folder: Path) -> None:
    for number in sorted(fence.start_numbers(folder))[:-KEPT_STARTS]:
        fence.start_file(folder, number).unlink(missing_ok=True)
