"""One agent a node of a Slurm job: runs this node's share of the ranks under msrun.

`hpc.cluster.slurm` starts it by srun, one task per node. Agents see each other only through the log
folder of the run: ranks leave their exit codes there (`hpc.cluster.launcher.record_exit_code`), and
an agent whose rank died without a word leaves one for its node.
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
from pathlib import Path

import psutil

from hpc.cluster.heartbeat import HangDetector
from hpc.cluster.launcher import FAILED_WORKER, JOB_VARIABLE, LogFollower, rank_environment
from hpc.cluster.rank_log import rank_log
from hpc.cluster.stop import STOPPED_EXIT_CODE

NODE_VARIABLE = "PREDIFF_NODE"
POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 10
"""How often node 0 looks for a rank that hangs: a small file a rank on the shared file system."""
EXIT_SECONDS = 20
"""How long ranks may take to end after the first one has, before they are killed."""
CLUSTER_SECONDS = 600
"""How long the first ranks wait for the last node."""


def run_node(
    arguments: Sequence[str],
    *,
    job: str,
    node: int,
    nodes: int,
    workers: int,
    address: str,
    port: int,
    log_dir: Path,
    stop_file: Path,
) -> int:
    """Run ``python -m ARGUMENTS`` in this node's ranks; return 0, or 1 if one of them failed.

    SIGTERM, which Slurm sends before it takes nodes away, touches the stop file: the ranks save and
    stop. A second one kills them.

    Args:
        arguments: module and arguments of one rank.
        job: mark of this start of the job, the same on all nodes.
        node: number of this node within the job; node 0 shows the log of rank 0.
        nodes: of the job.
        workers: ranks a node.
        address, port: of the scheduler that msrun starts on node 0.
        log_dir: of the run, on a file system that all nodes share.
        stop_file: polled by the ranks.
    """
    msrun = shutil.which("msrun")
    if msrun is None:
        return _fail(node, log_dir, f"msrun is not on PATH of {socket.gethostname()}")
    command = [
        msrun,
        f"--worker_num={nodes * workers}",
        f"--local_worker_num={workers}",
        f"--node_rank={node}",
        f"--master_addr={address}",
        f"--master_port={port}",
        f"--log_dir={log_dir / 'msrun' / f'node_{node}'}",
        "--join=True",
        f"--cluster_time_out={CLUSTER_SECONDS}",
        "python",
        "-m",
        *arguments,
    ]
    output = log_dir / f"msrun_node_{node}.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**rank_environment(job=job, log_dir=log_dir), NODE_VARIABLE: str(node)},
        )
    try:
        _wait(
            process,
            output,
            ranks=nodes * workers,
            node=node,
            stop_file=stop_file,
        )
        codes = exit_codes(log_dir)
        own = {codes.get(rank) for rank in range(node * workers, (node + 1) * workers)}
        if own <= {0, STOPPED_EXIT_CODE}:
            return 0
        if any(log_dir.glob("node_*.failed")):
            return 1
        return _explain(node, process, output, log_dir)
    finally:
        _kill_ranks(job, node)
        process.wait()


def exit_codes(log_dir: Path) -> dict[int, int]:
    """Return the codes that ranks have recorded so far, by rank."""
    codes = {}
    for file in log_dir.glob("rank_*.exit"):
        text = file.read_text()
        if text:
            codes[int(file.stem.removeprefix("rank_"))] = int(text)
    return codes


def remove_marks(log_dir: Path) -> None:
    """Forget how an earlier start of the job ended."""
    for pattern in ("rank_*.exit", "rank_*.heartbeat", "rank_*.barrier", "node_*.failed"):
        for file in log_dir.glob(pattern):
            file.unlink(missing_ok=True)
    shutil.rmtree(log_dir / "msrun", ignore_errors=True)


def _wait(
    process: subprocess.Popen, output: Path, *, ranks: int, node: int, stop_file: Path
) -> None:
    """Return when all ranks ended, one of this node failed, or the others do not end or hang."""
    log_dir, terms, ends = output.parent, 0, float("inf")

    def receive(signum: int, frame: object) -> None:
        nonlocal terms
        terms += 1

    signal.signal(signal.SIGTERM, receive)
    heartbeats, next_look = HangDetector(log_dir, ranks=ranks), time.monotonic() + HEARTBEAT_SECONDS
    follower = LogFollower(rank_log(log_dir, 0)) if node == 0 else None
    if follower and follower.path.exists():
        follower.position = follower.path.stat().st_size  # of the starts before this one
    while process.poll() is None and terms < 2 and time.monotonic() < ends:
        time.sleep(POLL_SECONDS)
        if follower:
            follower.copy()
        if terms:
            stop_file.touch()
        recorded = len(exit_codes(log_dir))
        if recorded == ranks:
            break
        if ends == float("inf") and (recorded or any(log_dir.glob("node_*.failed"))):
            ends = time.monotonic() + EXIT_SECONDS
        if FAILED_WORKER.search(output.read_bytes()):
            time.sleep(1)  # for what the rank has still to say
            break
        if node == 0 and time.monotonic() > next_look:
            next_look += HEARTBEAT_SECONDS
            stuck = heartbeats.stuck_rank()
            if stuck is not None:
                _fail(
                    node, log_dir, f"rank {stuck[0]} {stuck[1]}", shown=rank_log(log_dir, stuck[0])
                )
                break
    if follower:
        follower.copy()


def _explain(node: int, process: subprocess.Popen, output: Path, log_dir: Path) -> int:
    failed = FAILED_WORKER.search(output.read_bytes())
    if failed is None and process.poll() is None:
        return _fail(node, log_dir, f"ranks on {socket.gethostname()} did not end")
    if failed is None:
        return _fail(node, log_dir, f"msrun on {socket.gethostname()} failed", shown=output)
    code, log = int(failed[2]), _log_of(int(failed[1]), log_dir)
    how = f"was killed by signal {-code}" if code < 0 else f"failed with code {code}"
    who = "a rank" if log is None else f"rank {log.stem.removeprefix('rank_')}"
    return _fail(node, log_dir, f"{who} on {socket.gethostname()} {how}", shown=log or output)


def _log_of(pid: int, log_dir: Path) -> Path | None:
    """Return the log of this node's rank by its process; logs go on over requeues."""
    header = re.compile(rb"^rank \d+ pid (\d+) on (\S+)$", re.MULTILINE)
    wanted = (str(pid).encode(), socket.gethostname().encode())
    for path in log_dir.glob("rank_*.log"):
        starts = header.findall(path.read_bytes())
        if starts and starts[-1] == wanted:
            return path
    return None


def _fail(node: int, log_dir: Path, message: str, *, shown: Path | None = None) -> int:
    """Say why this node fails, to the user and to the other agents."""
    (log_dir / f"node_{node}.failed").write_text(message)
    print(f"\nerror: {message}" + (f"; the end of {shown}:" if shown else ""), file=sys.stderr)
    if shown:
        for line in shown.read_text(errors="replace").splitlines()[-20:]:
            print(f"  {line}", file=sys.stderr)
    sys.stderr.flush()
    return 1


def _kill_ranks(job: str, node: int) -> None:
    """Kill what msrun started here, by its mark: every rank has a session of its own."""
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            if environ.get(JOB_VARIABLE) == job and environ.get(NODE_VARIABLE) == str(node):
                process.kill()
        except psutil.Error:
            continue


def main() -> None:
    """Read the command line that `hpc.cluster.slurm` writes, and Slurm's number of this node."""
    parser = argparse.ArgumentParser(description=run_node.__doc__)
    parser.add_argument("--job", required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log-dir", type=Path, required=True)
    parser.add_argument("--stop-file", type=Path, required=True)
    parser.add_argument("arguments", nargs="+")
    options = vars(parser.parse_args())
    code = run_node(
        options.pop("arguments"),
        node=int(os.environ["SLURM_NODEID"]),
        nodes=int(os.environ["SLURM_STEP_NUM_NODES"]),
        **options,
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
