"""Start one host's ranks under msrun, follow rank 0, and leave no process behind.

msrun puts every worker in a session of its own, reports a failure only after half a minute and
says nothing on the terminal; this module adds what a person at the terminal expects.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import psutil

from hpc.errors import UserError

JOB_VARIABLE = "PREDIFF_JOB"
LOG_VARIABLE = "PREDIFF_LOG"
EXIT_CODE = "exit_code"
FAILED_WORKER = re.compile(rb"Worker process (\d+) exit with exception\. Error code: (-?\d+)")


def launch(
    arguments: Sequence[str], *, workers: int, log_dir: Path, stop_file: Path, port: int | None
) -> int:
    """Run ``python -m ARGUMENTS`` in `workers` ranks and return the job's exit code.

    Args:
        arguments: module and arguments of one rank.
        workers: ranks to start on this host.
        log_dir: holds ``rank_N.log`` and msrun's own logs.
        stop_file: touched on the first Ctrl-C; the ranks poll it and save a checkpoint.
        port: of the scheduler on 127.0.0.1; None takes a free one.

    Returns:
        0, or the code that a rank recorded (2 bad input, 75 stopped and resumable), or 1.

    Raises:
        UserError: the port is in use, or msrun is not installed.
    """
    msrun = shutil.which("msrun")
    if msrun is None:
        raise UserError("msrun is not on PATH: activate the environment (source launch/env.sh)")
    port = _free_port() if port is None else _require_free(port)
    _clear(log_dir)
    job = uuid.uuid4().hex
    command = [
        msrun,
        f"--worker_num={workers}",
        f"--local_worker_num={workers}",
        "--master_addr=127.0.0.1",
        f"--master_port={port}",
        f"--log_dir={log_dir / 'msrun'}",
        "--join=True",
        "--cluster_time_out=300",
        "python",
        "-m",
        *arguments,
    ]
    with (log_dir / "msrun.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(workers=workers, job=job, log_dir=log_dir),
        )
    try:
        return _watch(process, log_dir=log_dir, stop_file=stop_file)
    finally:
        _kill_job(job)
        process.wait()


def record_exit_code(code: int) -> None:
    """Leave a rank's exit code where its launcher finds it; msrun only tells good from bad."""
    log_dir = os.environ.get(LOG_VARIABLE)
    if log_dir is not None:
        (Path(log_dir) / EXIT_CODE).write_text(str(code))


def _environment(*, workers: int, job: str, log_dir: Path) -> dict[str, str]:
    return {
        **os.environ,
        JOB_VARIABLE: job,
        LOG_VARIABLE: str(log_dir.resolve()),
        "GLOG_v": os.environ.get("GLOG_v", "3"),
        "MS_NODE_TIMEOUT": os.environ.get("MS_NODE_TIMEOUT", "30"),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _require_free(port: int) -> int:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port} on 127.0.0.1 is not free ({error.strerror})") from None
    return port


def _clear(log_dir: Path) -> None:
    log_dir.mkdir(parents=True, exist_ok=True)
    for leftover in [*log_dir.glob("rank_*.log"), log_dir / EXIT_CODE]:
        leftover.unlink(missing_ok=True)
    shutil.rmtree(log_dir / "msrun", ignore_errors=True)


def _watch(process: subprocess.Popen, *, log_dir: Path, stop_file: Path) -> int:
    asked_to_stop = 0

    def ask_to_stop(signum: int, frame: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop += 1

    previous = {s: signal.signal(s, ask_to_stop) for s in (signal.SIGINT, signal.SIGTERM)}
    follower = _Follower(log_dir / "rank_0.log")
    told = 0
    try:
        while process.poll() is None:
            time.sleep(0.2)
            follower.copy()
            if asked_to_stop > told:
                told = asked_to_stop
                if told > 1:
                    print("\nkilled; the newest checkpoint is whole", file=sys.stderr, flush=True)
                    return 130
                stop_file.touch()
                print(
                    "\nstopping after a checkpoint; Ctrl-C again kills", file=sys.stderr, flush=True
                )
            if FAILED_WORKER.search((log_dir / "msrun.log").read_bytes()):
                time.sleep(1)
                break
        follower.copy()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return _outcome(process, log_dir)


def _outcome(process: subprocess.Popen, log_dir: Path) -> int:
    recorded = log_dir / EXIT_CODE
    if recorded.exists():
        return int(recorded.read_text())
    failed = FAILED_WORKER.search((log_dir / "msrun.log").read_bytes())
    if failed is None and process.poll() == 0:
        return 0
    rank = _rank_of(int(failed[1]), log_dir) if failed else None
    if failed and rank is not None:
        code = int(failed[2])
        how = f"was killed by signal {-code}" if code < 0 else f"failed with code {code}"
        _show_tail(f"rank {rank} {how}", log_dir / f"rank_{rank}.log", log_dir)
    else:
        _show_tail("the job failed before its ranks started", log_dir / "msrun.log", log_dir)
    return 1


def _rank_of(pid: int, log_dir: Path) -> int | None:
    for path in log_dir.glob("rank_*.log"):
        with path.open("rb") as log:
            if f"pid {pid} ".encode() in log.readline():
                return int(path.stem.removeprefix("rank_"))
    return None


def _show_tail(message: str, path: Path, log_dir: Path, lines: int = 20) -> None:
    text = path.read_text(errors="replace") if path.exists() else ""
    print(f"\nerror: {message}; the end of {path}:", file=sys.stderr)
    for line in text.splitlines()[-lines:]:
        print(f"  {line}", file=sys.stderr)
    print(f"all logs: {log_dir}", file=sys.stderr, flush=True)


def _kill_job(job: str) -> None:
    """Kill every process that carries the job's mark, workers in their own sessions included."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(JOB_VARIABLE) == job:
                process.kill()
        except psutil.Error:
            continue


class _Follower:
    """Copies what is new in a growing log to the terminal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0

    def copy(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as log:
            log.seek(self.position)
            new = log.read()
        self.position += len(new)
        sys.stdout.buffer.write(new)
        sys.stdout.buffer.flush()
