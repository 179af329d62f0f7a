"""A job on all nodes of a Slurm allocation: who is the head, start, stop before the limit, requeue.

Runs in the batch step, on the first node. Slurm's warning signal (``--signal=B:USR1@SECONDS``)
becomes a stop file, which the ranks poll; they save and end with code 75, and the job goes back
into the queue, where it finds its checkpoint when it is started again.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hpc.cluster.lifeline import end_with_parent
from hpc.cluster.marks import End, Marks
from hpc.cluster.stop import STOPPED_EXIT_CODE
from hpc.errors import UserError

LAST_SECONDS = 45
"""Before the time limit: ranks that have not stopped by then are requeued as they are."""

# An environment that is active where the job was submitted is used; nodes that do not have it
# (PREDIFF_VENV on a local disk) make their own.
SUPERVISOR = (
    "command -v msrun >/dev/null || source launch/env.sh || exit 2; "
    'exec python -m hpc.cluster.supervisor "$@"'
)
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Allocation:
    """What Slurm gave to this job.

    Attributes:
        job: its number, the same after a requeue.
        nodes: names, the head first.
        restarts: how often the job was requeued.
    """

    job: int
    nodes: tuple[str, ...]
    restarts: int

    @property
    def head_address(self) -> str:
        """The head's address as the other nodes reach it.

        Raises:
            UserError: Slurm's address of the head cannot be resolved.
        """
        if len(self.nodes) == 1:
            return "127.0.0.1"
        address = _resolve(_node_address(self.nodes[0]))
        if not address.startswith("127."):
            return address
        # Some hosts resolve their own name to a loopback address: take the one that leads out.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((_resolve(_node_address(self.nodes[-1])), 9))
            return probe.getsockname()[0]

    def free_port(self) -> int:
        """Return a port that follows from the job's number, or the next free one on the head."""
        for port in range(start := 20000 + self.job % 10000, start + 100):
            with socket.socket() as probe:
                try:
                    probe.bind(("", port))
                except OSError:
                    continue
                return port
        raise UserError(f"no free port between {start} and {start + 99} on {self.nodes[0]}")


def allocation(environ: Mapping[str, str] | None = None) -> Allocation:
    """Return the allocation that this batch step runs in.

    Raises:
        UserError: this is no Slurm job, or scontrol fails.
    """
    environ = os.environ if environ is None else environ
    if "SLURM_JOB_ID" not in environ:
        raise UserError("this is no Slurm job: sbatch launch/cluster.slurm [arguments]")
    names = _scontrol("show", "hostnames", environ["SLURM_JOB_NODELIST"]).split()
    return Allocation(
        job=int(environ["SLURM_JOB_ID"]),
        nodes=tuple(names),
        restarts=int(environ.get("SLURM_RESTART_COUNT", "0")),
    )


def run_on_nodes(
    arguments: Sequence[str],
    *,
    where: Allocation,
    workers: int,
    log_dir: Path,
    stop_file: Path,
    start: int | None = None,
) -> int:
    """Run ``python -m ARGUMENTS`` in `workers` ranks a node and return the job's exit code.

    A job that USR1 asked to stop goes back into the queue, if its ranks ended with code 75 or do
    not end before the time limit; Slurm then ends this process. SIGTERM asks to stop as well, but
    who sends it, a preemption or scancel, decides about the queue.

    Args:
        arguments: module and arguments of one rank.
        where: the nodes.
        workers: ranks a node.
        log_dir: gets a folder ``start_N`` for this start; on a shared file system.
        stop_file: polled by the ranks.
        start: number of this start; None is the next one of `log_dir`.

    Returns:
        0, the code that a rank recorded (2 bad input, 75 stopped and resumable), or 1.

    Raises:
        UserError: the head has no usable address or port.
    """
    received: set[int] = set()
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda signum, frame: received.add(signum))
    stop_file.unlink(missing_ok=True)
    marks = Marks.begin(log_dir, start=start)
    nodes = len(where.nodes)
    command = [
        "srun",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--ntasks-per-node=1",
        "--cpu-bind=none",
        "--mpi=none",
        "--unbuffered",
        "--wait=60",
        "bash",
        "-c",
        SUPERVISOR,
        "supervisor",
        f"--name={marks.new_name()}",
        f"--workers={workers}",
        f"--address={where.head_address}",
        f"--port={where.free_port()}",
        f"--folder={marks.folder}",
        f"--stop-file={stop_file}",
        "--",
        *arguments,
    ]
    _say(
        f"job {where.job}, start {where.restarts + 1}: {workers} ranks on each of "
        f"{', '.join(where.nodes)}; logs in {marks.folder}"
    )
    step = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=end_with_parent)
    told, last = False, float("inf")
    while step.poll() is None:
        time.sleep(POLL_SECONDS)
        if signal.SIGUSR1 in received and not told:
            told, last = True, _time_limit(where.job) - LAST_SECONDS
            _say("warned by Slurm: the ranks stop after a checkpoint")
        if received:
            # Again and again: a rank that starts now takes an older file for a stale one.
            stop_file.touch()
        if time.time() > last:
            _say("the ranks did not stop in time: requeued with what is saved")
            _requeue(where.job)
            last = float("inf")
    stop_file.unlink(missing_ok=True)
    if step.returncode < 0:
        marks.make_end(
            End(message=f"srun was killed by signal {-step.returncode}", code=1, rank=None)
        )
    code = marks.outcome(ranks=workers * nodes)
    if code == STOPPED_EXIT_CODE and signal.SIGUSR1 in received:
        _say("requeued; it continues by itself")
        _requeue(where.job)
    return code


def _time_limit(job: int) -> float:
    """Return when Slurm ends a job, in seconds since 1970; infinity for never."""
    found = re.search(r"EndTime=(\S+)", _scontrol("show", "job", str(job), "--oneliner"))
    if found is None or found[1] == "Unknown":
        return float("inf")
    return datetime.fromisoformat(found[1]).timestamp()


def _requeue(job: int) -> None:
    try:
        _scontrol("requeue", str(job))
    except UserError as error:
        _say(f"{error}; submit the same command again to continue")


def _node_address(name: str) -> str:
    found = re.search(r"NodeAddr=(\S+)", _scontrol("show", "node", name, "--oneliner"))
    return found[1] if found else name


def _resolve(name: str) -> str:
    try:
        return socket.gethostbyname(name)
    except OSError as error:
        raise UserError(
            f"the address {name} of a node cannot be resolved on {socket.gethostname()} ({error}): "
            "ask the site for NodeAddr in slurm.conf or an entry in the name service"
        ) from None


def _scontrol(*arguments: str) -> str:
    done = subprocess.run(["scontrol", *arguments], text=True, capture_output=True)
    if done.returncode:
        raise UserError(f"scontrol {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout


def _say(text: str) -> None:
    print(f"slurm: {text}", file=sys.stderr, flush=True)
