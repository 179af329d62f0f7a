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

from hpc.cluster.file_barrier import FileBarrier
from hpc.cluster.heartbeat import HangDetector, remove_heartbeats
from hpc.cluster.process_info import discover
from hpc.cluster.rank_log import rank_log, read_process
from hpc.cluster.stop import STOPPED_EXIT_CODE
from hpc.errors import UserError

JOB_VARIABLE = "PREDIFF_JOB"
LOG_VARIABLE = "PREDIFF_LOG"
BAD_INPUT = 2
POLL_SECONDS = 0.2
EXIT_SECONDS = 20
"""How long the other ranks may take to end after one has; then they are killed."""
FAILED_WORKER = re.compile(rb"Worker process (\d+) exit with exception\. Error code: (-?\d+)")


def launch(
    arguments: Sequence[str], *, workers: int, log_dir: Path, stop_file: Path, port: int | None
) -> int:
    """Run ``python -m ARGUMENTS`` in `workers` ranks and return the job's exit code.

    Args:
        arguments: module and arguments of one rank.
        workers: ranks to start on this host.
        log_dir: holds ``rank_N.log`` and msrun's own logs.
        stop_file: touched on the first Ctrl-C or SIGTERM; the ranks poll it and save a checkpoint.
            One that is there already belongs to an earlier job and is removed.
        port: of the scheduler on 127.0.0.1; None takes a free one.

    Returns:
        0, or what a rank recorded (2 bad input, 75 stopped and resumable), 130 after a second
        Ctrl-C, or 1 when a rank failed, died or hung: the line on standard error names the rank.

    Raises:
        UserError: the port is in use, or msrun is not installed.
    """
    # msrun starts the `python` that it finds on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    msrun = shutil.which("msrun", path=path)
    if msrun is None:
        raise UserError("msrun is not on PATH: activate the environment (source launch/env.sh)")
    port = _free_port() if port is None else _require_free(port)
    _clear(log_dir)
    stop_file.unlink(missing_ok=True)
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
            env={**rank_environment(job=job, log_dir=log_dir), "PATH": path},
        )
    try:
        return _watch(process, workers=workers, log_dir=log_dir, stop_file=stop_file)
    finally:
        _kill_job(job)
        process.wait()
        stop_file.unlink(missing_ok=True)


def log_folder() -> Path | None:
    """Return where this rank's launcher looks for its log and signs; None without a launcher."""
    folder = os.environ.get(LOG_VARIABLE)
    return None if folder is None else Path(folder)


def barrier_of_job(*, rank: int, size: int) -> FileBarrier | None:
    """Return where the ranks of this job wait for each other; None without our launcher."""
    folder = log_folder()
    if folder is None:
        return None
    return FileBarrier(folder, job=os.environ[JOB_VARIABLE], rank=rank, size=size)


def record_exit_code(code: int) -> int:
    """Leave a rank's exit code where its launcher finds it; msrun only tells good from bad.

    Returns:
        the code to end with. Under the launcher a rank that stopped as it was asked to ends with
        0: msrun kills all ranks as soon as one ends otherwise, before they have said why.
    """
    log_dir = log_folder()
    if log_dir is None:
        return code
    _exit_file(log_dir, discover().rank).write_text(str(code))
    return 0 if code == STOPPED_EXIT_CODE else code


def _exit_file(log_dir: Path, rank: int) -> Path:
    return log_dir / f"rank_{rank}.exit"


def rank_environment(*, job: str, log_dir: Path) -> dict[str, str]:
    """Return the ranks' environment; what the user has set of MindSpore's variables stays."""
    return {
        **os.environ,
        JOB_VARIABLE: job,
        LOG_VARIABLE: str(log_dir.resolve()),
        "GLOG_v": os.environ.get("GLOG_v", "3"),  # noqa: SIM112 -- MindSpore's name
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
    for leftover in [*log_dir.glob("rank_*.log"), *log_dir.glob("rank_*.exit")]:
        leftover.unlink(missing_ok=True)
    remove_heartbeats(log_dir)
    shutil.rmtree(log_dir / "msrun", ignore_errors=True)


def _watch(process: subprocess.Popen, *, workers: int, log_dir: Path, stop_file: Path) -> int:
    asked_to_stop = 0

    def ask_to_stop(signum: int, frame: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop += 1

    previous = {s: signal.signal(s, ask_to_stop) for s in (signal.SIGINT, signal.SIGTERM)}
    follower, heartbeats = LogFollower(rank_log(log_dir, 0)), HangDetector(log_dir, ranks=workers)
    told = 0
    try:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            follower.copy()
            if asked_to_stop > told:
                told = asked_to_stop
                if told > 1:
                    _say("killed; the newest checkpoint is whole")
                    return 130
                _say("stopping after a checkpoint; Ctrl-C again kills")
            if asked_to_stop:
                # Again and again: a rank that starts now takes an older file for a stale one.
                stop_file.touch()
            if _exit_codes(log_dir, workers):
                _wait_for_exits(process, log_dir, workers)
                break
            if _first_failure(log_dir) is not None:
                break
            stuck = heartbeats.stuck_rank()
            if stuck is not None:
                rank, how = stuck
                follower.copy()
                _show_tail(f"rank {rank} {how}: ending the job", rank, log_dir)
                return 1
        follower.copy()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return _outcome(process, log_dir, workers)


def _wait_for_exits(process: subprocess.Popen, log_dir: Path, workers: int) -> None:
    """Give the other ranks time to end in their own way, unless one failed already."""
    deadline = time.monotonic() + EXIT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        codes = _exit_codes(log_dir, workers)
        if len(codes) == workers or _first_failure(log_dir) is not None:
            return


def _outcome(process: subprocess.Popen, log_dir: Path, workers: int) -> int:
    codes = _exit_codes(log_dir, workers)
    for wanted in (BAD_INPUT, STOPPED_EXIT_CODE):
        ranks = [rank for rank, code in codes.items() if code == wanted]
        if ranks:
            if 0 not in ranks:
                _show_tail(f"rank {ranks[0]} ended with code {wanted}", ranks[0], log_dir)
            return wanted
    if len(codes) == workers and not any(codes.values()):
        return 0
    failure = _first_failure(log_dir)
    rank = _rank_of(failure[0], log_dir, workers) if failure else None
    if failure and rank is not None:
        code = failure[1]
        how = f"was killed by signal {-code}" if code < 0 else f"failed with code {code}"
        _show_tail(f"rank {rank} {how}", rank, log_dir)
    elif any(codes.values()):
        rank = next(rank for rank, code in codes.items() if code)
        _show_tail(f"rank {rank} failed with code {codes[rank]}", rank, log_dir)
    else:
        _say(f"error: the job ended before its ranks had, see {log_dir / 'msrun.log'}")
    return 1


def _first_failure(log_dir: Path) -> tuple[int, int] | None:
    """Return process number and exit code of the first rank that msrun saw fail."""
    found = FAILED_WORKER.search((log_dir / "msrun.log").read_bytes())
    return None if found is None else (int(found[1]), int(found[2]))


def _exit_codes(log_dir: Path, workers: int) -> dict[int, int]:
    """Return the codes that ranks have recorded so far, by rank."""
    texts = {}
    for rank in range(workers):
        file = _exit_file(log_dir, rank)
        if file.exists():
            texts[rank] = file.read_text()
    return {rank: int(text) for rank, text in texts.items() if text}


def _rank_of(pid: int, log_dir: Path, workers: int) -> int | None:
    return next((r for r in range(workers) if read_process(log_dir, r) == pid), None)


def _say(line: str) -> None:
    print(f"\n{line}", file=sys.stderr, flush=True)


def _show_tail(message: str, rank: int, log_dir: Path, lines: int = 20) -> None:
    """Say what happened to a rank, with the end of its log; that of rank 0 was shown already."""
    path = rank_log(log_dir, rank)
    _say(f"error: {message}")
    if rank > 0 and path.exists():
        print(f"the end of {path}:", file=sys.stderr)
        for line in path.read_text(errors="replace").splitlines()[-lines:]:
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


class LogFollower:
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
