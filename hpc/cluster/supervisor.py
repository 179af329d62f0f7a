"""Start the ranks of one host under msrun, watch them, say why they end, and leave none behind.

A job has one supervisor per node: in `prediff launch`, whose job is of one node, or as a task of
srun (`hpc.cluster.slurm` starts it, and adds nothing but nodes). The folder of the start, which all
nodes see, is all that supervisors share. Whoever first sees a fault writes there which rank or node
it was and why (`hpc.cluster.marks`), and all end their ranks.

msrun puts every worker in a session of its own, reports a failure only after half a minute and says
nothing on the terminal; what a person at the terminal expects is added here.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from hpc import fence
from hpc.cluster.affinity import USER_THREADS, threads_per_rank
from hpc.cluster.failure_codes import first_cause
from hpc.cluster.heartbeat import HangDetector, stuck_rank
from hpc.cluster.job import JOB, LOG, NODE, SUPERVISOR, WORKERS, safe_python_path
from hpc.cluster.lifeline import die_with_parent, end_with_parent
from hpc.cluster.marks import BAD_INPUT, End, Marks
from hpc.cluster.rank_log import rank_log, read_process
from hpc.cluster.stop import STOPPED_EXIT_CODE, StopSignals
from hpc.cluster.terminal import LogFollower, end_of, say, show_tail
from hpc.errors import UserError
from hpc.process_identity import process_tag, tag_is_alive

POLL_SECONDS = 0.2
FILES_SECONDS = 5.0
"""How often to look for marks on a file system that all nodes share, while no rank of this host has
ended; the process table, which costs nothing, says when one has."""
LOOK_SECONDS = 5.0
"""How often to look for what takes many files: hanging ranks, silent nodes, another start."""
SILENT_SECONDS = 20.0
"""After which a node whose supervisor gives no sign is lost."""
EXIT_SECONDS = 20.0
"""How long the other ranks may take to end after one has; then they are killed."""
LAST_WORDS_SECONDS = 1.0
"""What a rank that died may still be writing."""
CLUSTER_SECONDS = 600
"""How long the first ranks wait for the last node."""
KILLED = 130
FAILED_WORKER = re.compile(rb"Worker process (\d+) exit with exception\. Error code: (-?\d+)")
GOOD = (0, STOPPED_EXIT_CODE)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One start of a job, the same on all of its nodes.

    Attributes:
        name: the mark of this start.
        arguments: module and arguments of one rank.
        workers: ranks a node.
        nodes: how many.
        address, port: of msrun's scheduler on node 0.
        folder: of this start: its logs and marks.
        stop_file: touched when the job is asked to stop; the ranks poll it and save a checkpoint.
    """

    name: str
    arguments: tuple[str, ...]
    workers: int
    nodes: int = 1
    address: str = "127.0.0.1"
    port: int
    folder: Path
    stop_file: Path

    @property
    def ranks(self) -> int:
        return self.workers * self.nodes


def run_node(job: Job, *, node: int) -> None:
    """Run one node's ranks until they have ended, and leave the marks of how.

    SIGINT, SIGTERM or SIGHUP (a terminal that goes away) ask the ranks to save and stop; a second
    one kills them.
    """
    with StopSignals() as signals:
        _Supervisor(job, node, signals).run()


class _Supervisor:
    def __init__(self, job: Job, node: int, signals: StopSignals) -> None:
        self.job, self.node, self.signals = job, node, signals
        self.host = socket.gethostname()
        self.own = range(node * job.workers, (node + 1) * job.workers)
        self.marks = Marks(job.folder)
        self.codes: dict[int, int] = {}
        self.told = 0
        self.output = job.folder / f"msrun_node_{node}.log"
        self.follower = LogFollower(rank_log(job.folder, 0)) if node == 0 else None
        self.detector = HangDetector(job.folder, ranks=self.own)
        self.deadline = float("inf")
        self.scheduler_gone = float("inf")
        self.next_look = time.monotonic() + LOOK_SECONDS
        self.next_files = time.monotonic()

    def run(self) -> None:
        process = self._start()
        try:
            while not self._is_over(process):
                time.sleep(POLL_SECONDS)
            if self.follower is not None:
                self.follower.copy()
        finally:
            _kill(self.job.name, self.node)
            process.wait()

    def _start(self) -> subprocess.Popen:
        job = self.job
        command = [
            _msrun(),
            f"--worker_num={job.ranks}",
            f"--local_worker_num={job.workers}",
            *([f"--node_rank={self.node}"] if job.nodes > 1 else []),
            f"--master_addr={job.address}",
            f"--master_port={job.port}",
            f"--log_dir={job.folder / 'msrun' / f'node_{self.node}'}",
            "--join=True",
            f"--tail_worker_log={job.ranks}",  # nobody's: each tail would be a process more
            f"--cluster_time_out={CLUSTER_SECONDS}",
            "python",
            "-m",
            *job.arguments,
        ]
        if job.nodes > 1:
            self.marks.give_sign(self.node, host=self.host, positions={})
        with self.output.open("wb") as output:
            return subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,
                env=_rank_environment(job, self.node),
            )

    def _is_over(self, process: subprocess.Popen) -> bool:
        """Look once; return whether the ranks of this node have ended or are to be ended."""
        ended = process.poll() is not None  # before the codes, which are there by then
        if self.follower is not None:
            self.follower.copy()
        if self._is_killed_by_user():
            return True
        if not (ended or self.detector.misses_rank() or time.monotonic() > self.next_files):
            return False
        self.next_files = time.monotonic() + FILES_SECONDS
        if self.marks.end() is not None:
            return True
        self._read_codes()
        if len(self.codes) == len(self.own):
            return True
        if FAILED_WORKER.search(self.output.read_bytes()):
            time.sleep(LAST_WORDS_SECONDS)
            self._read_codes()
            self._say_who_failed()
            return True
        if ended:
            self._say_how_msrun_ended(process.returncode)
            return True
        if time.monotonic() > self.deadline:
            return self._end_the_late()
        late = time.monotonic() - self.next_look
        if late < 0:
            return False
        if late > LOOK_SECONDS:  # this process was suspended, and the ranks with it, probably
            self.detector.forgive(late)
            self.marks.forgive(late)
        self.next_look = time.monotonic() + LOOK_SECONDS
        return self._look_around()

    def _is_killed_by_user(self) -> bool:
        if self.signals.count > self.told:
            self.told = self.signals.count
            if self.told > 1:
                self._end("killed by a second signal; the newest checkpoint is whole", code=KILLED)
                return True
            say("stopping after a checkpoint; Ctrl-C again kills")
        if self.told:
            # Again and again: a rank that starts now takes an older file for a stale one.
            self.job.stop_file.touch()
        return False

    def _read_codes(self) -> None:
        for rank in self.own:
            if rank not in self.codes:
                code = self.marks.exit_code(rank)
                if code is None:
                    continue
                self.codes[rank] = code
                if code not in GOOD:
                    shown = rank_log(self.job.folder, rank)
                    self._end(f"ended with code {code}", rank=rank, code=code, shown=shown)
                self.marks.announce_ending()
        if self.deadline == float("inf") and self.marks.is_ending():
            self.deadline = time.monotonic() + EXIT_SECONDS

    def _say_who_failed(self) -> None:
        found = FAILED_WORKER.search(self.output.read_bytes())
        assert found is not None, "somebody has failed"
        process, code = int(found[1]), int(found[2])
        how = f"was killed by signal {-code}" if code < 0 else f"failed with code {code}"
        if code == -signal.SIGKILL:
            how += " (by somebody, or by the kernel for want of memory)"
        rank = next((r for r in self.own if read_process(self.job.folder, r) == process), None)
        if rank is None:  # it died before it opened its log
            silent = [r for r in self.own if not rank_log(self.job.folder, r).exists()]
            self._end(f"a rank on {self.host} {how}", shown=self._early_log(silent))
        else:
            self._end(how, rank=rank, shown=rank_log(self.job.folder, rank))

    def _early_log(self, ranks: Sequence[int]) -> Path:
        """Return what one of these ranks printed before it opened its log; else msrun's log."""
        logs = (
            self.job.folder / "msrun" / f"node_{self.node}" / f"worker_{rank}.log" for rank in ranks
        )
        return next((log for log in logs if log.exists()), self.output)

    def _say_how_msrun_ended(self, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        self._end(f"msrun on {self.host} {how} before its ranks had", shown=self.output)

    def _end_the_late(self) -> bool:
        late = [rank for rank in self.own if rank not in self.codes]
        if STOPPED_EXIT_CODE in self.codes.values():
            return True  # the checkpoint is there
        self._end(
            f"did not end in {EXIT_SECONDS:.0f} s after another rank had",
            rank=late[0],
            shown=rank_log(self.job.folder, late[0]),
        )
        return True

    def _look_around(self) -> bool:
        """Look for ranks that hang, for other nodes, for msrun's scheduler, for another start."""
        try:
            fence.refuse_if_overtaken()
        except fence.Overtaken as overtaken:
            self._end(str(overtaken), code=BAD_INPUT)
            return True
        suspended = self.detector.suspended_rank()
        if suspended is not None:
            rank, how = suspended
            self._end(how, rank=rank, shown=rank_log(self.job.folder, rank))
            return True
        positions = self.detector.positions()
        if self.job.nodes > 1:
            self.marks.give_sign(self.node, host=self.host, positions=positions)
            others = range(1, self.job.nodes) if self.node == 0 else [0]
            for other in others:
                silent = self.marks.silent_seconds(other)
                if silent is not None and silent > SILENT_SECONDS:
                    self._end(
                        f"node {other} ({self.marks.host(other)}) has given no sign for "
                        f"{silent:.0f} s: its supervisor was killed, or the node is lost"
                    )
                    return True
                positions |= self.marks.positions(other)
        if self.node == 0:
            stuck = stuck_rank(positions, ranks=self.job.ranks)
            if stuck is not None:
                rank, how = stuck
                self._end(how, rank=rank, shown=rank_log(self.job.folder, rank))
                return True
            return self._misses_scheduler()
        return False

    def _misses_scheduler(self) -> bool:
        tag = self.marks.scheduler()
        if tag is None or tag_is_alive(tag) or self.codes:
            return False
        now = time.monotonic()
        self.scheduler_gone = min(self.scheduler_gone, now)
        if now - self.scheduler_gone < LOOK_SECONDS / 2:  # it ends just before its ranks do
            self.next_look = now + LOOK_SECONDS / 2
            return False
        self._end(f"msrun's scheduler on {self.host} (process {tag.split('-')[1]}) has died")
        return True

    def _end(
        self, message: str, *, code: int = 1, rank: int | None = None, shown: Path | None = None
    ) -> None:
        """Leave word of why the job ends, unless somebody did before, and show the log of it."""
        who = "" if rank is None else f"rank {rank} on {self.host} "
        if code == 1:
            message += self._codes_of_the_device()
        first = self.marks.make_end(End(message=who + message, code=code, rank=rank))
        if first and shown is not None and rank != 0:  # that of rank 0 was shown already
            show_tail(shown)

    def _codes_of_the_device(self) -> str:
        """Return what codes of HCCL or Ascend in the logs of this node's ranks mean."""
        logs = {rank: end_of(rank_log(self.job.folder, rank)) for rank in self.own}
        cause = first_cause(logs)
        return "" if cause is None else f"; rank {cause[0]} says {cause[1]}"


def launch(
    arguments: Sequence[str],
    *,
    workers: int,
    log_dir: Path,
    stop_file: Path,
    port: int | None = None,
    start: int | None = None,
) -> int:
    """Run ``python -m ARGUMENTS`` in `workers` ranks of this host; return the job's exit code.

    Args:
        arguments: module and arguments of one rank.
        workers: ranks to start.
        log_dir: gets a folder ``start_N`` with ``rank_N.log`` and msrun's own logs, and links to
            the newest of them.
        stop_file: touched on the first Ctrl-C or SIGTERM; the ranks poll it and save a checkpoint.
            One that is there already belongs to an earlier job and is removed.
        port: of the scheduler on 127.0.0.1; None takes a free one.
        start: number of this start; None is the next one of `log_dir`.

    Returns:
        0, or what a rank recorded (2 bad input, 75 stopped and resumable), 130 after a second
        Ctrl-C, or 1 when a rank failed, died or hung: the last line on standard error names it.

    Raises:
        UserError: the port is in use, or msrun is not installed.
    """
    _msrun()
    port = _free_port() if port is None else _require_free(port)
    stop_file.unlink(missing_ok=True)
    marks = Marks.begin(log_dir, start=start)
    job = Job(
        name=marks.new_name(),
        arguments=tuple(arguments),
        workers=workers,
        port=port,
        folder=marks.folder,
        stop_file=stop_file,
    )
    try:
        run_node(job, node=0)
    finally:
        stop_file.unlink(missing_ok=True)
    return marks.outcome(ranks=workers)


def _msrun() -> str:
    """Return msrun's path.

    Raises:
        UserError: it is not there.
    """
    beside = Path(sys.executable).parent
    msrun = shutil.which("msrun") or shutil.which("msrun", path=beside)
    if msrun is None:
        raise UserError(
            f"msrun is not on PATH of {socket.gethostname()}: activate the environment "
            "(source launch/env.sh)"
        )
    return msrun


def _path() -> str:
    """msrun starts the `python` that it finds on the path."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def _rank_environment(job: Job, node: int) -> dict[str, str]:
    """Return the ranks' environment; what the user has set of MindSpore's variables stays."""
    environ = {**os.environ, **safe_python_path(os.environ)}
    threads = threads_per_rank(len(os.sched_getaffinity(0)), job.workers)
    return {
        **environ,
        "PATH": _path(),
        JOB: job.name,
        LOG: str(job.folder.resolve()),
        NODE: str(node),
        WORKERS: str(job.workers),
        SUPERVISOR: process_tag(),
        USER_THREADS: environ.get("OMP_NUM_THREADS", ""),
        "OMP_NUM_THREADS": environ.get("OMP_NUM_THREADS") or str(threads),
        "GLOG_v": environ.get("GLOG_v", "3"),
        "MS_NODE_TIMEOUT": environ.get("MS_NODE_TIMEOUT", "30"),
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


def _kill(name: str, node: int) -> None:
    """Kill every process of this node that carries the job's mark, whatever its session."""
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            if environ.get(JOB) == name and environ.get(NODE) == str(node):
                process.kill()
        except psutil.Error:
            continue


def main() -> None:
    """Read the command line that `hpc.cluster.slurm` writes, and Slurm's number of this node."""
    end_with_parent()
    parser = argparse.ArgumentParser(description=run_node.__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--stop-file", type=Path, required=True)
    parser.add_argument("arguments", nargs="+")
    options = vars(parser.parse_args())
    job = Job(
        arguments=tuple(options.pop("arguments")),
        nodes=int(os.environ["SLURM_STEP_NUM_NODES"]),
        **options,
    )
    node = int(os.environ["SLURM_NODEID"])
    try:
        run_node(job, node=node)
    except UserError as error:
        Marks(job.folder).make_end(End(message=str(error), code=1, rank=None))
    end = Marks(job.folder).end()
    sys.exit(0 if end is None else 1)


if __name__ == "__main__":
    main()
