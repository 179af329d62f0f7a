"""Kill processes of every kind of a job at random moments, and start the same command again.

    python tests/distributed/chaos_driver.py --folder /tmp/chaos --kills 30
    python tests/distributed/chaos_driver.py --folder /tmp/chaos --kills 30 --slurm

On one host the job is `prediff launch --workers 2`; with ``--slurm`` it is `launch/cluster.slurm`
on the two nodes of a real Slurm (`slurm/two_nodes.py`, needs root), one rank each. Each kind of
process takes its turn. After every SIGKILL all processes of that start must be gone within a
minute; nothing but the same command follows; and in the end weights, optimizer states and latents
must be those of a run that nobody disturbed, bit by bit. `kill_driver.py` chooses moments (within
a checkpoint, within a shard); this one chooses victims.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from kill_driver import SETTINGS, contents, largest_difference

PROJECT = Path(__file__).parents[2]
MARK = "KILL_DRIVER_JOB"
ON_ONE_HOST = ("launcher", "msrun", "scheduler", "rank")
ON_SLURM = ("supervisor", "msrun", "scheduler", "rank", "srun", "batch step")
CLEAN_SECONDS = 60
MOST_LINES = 40


class Start:
    """One start of the command, by a way that the subclasses know."""

    def __init__(self, name: str, folder: Path, until: str = "diffusion") -> None:
        self.name, self.folder, self.until = name, folder, until
        self.mark = uuid.uuid4().hex
        self.run = folder / "runs" / name
        self.log = folder / f"{name}.log"
        self.begin()

    def begin(self) -> None:
        raise NotImplementedError

    def ended(self) -> bool:
        raise NotImplementedError

    def end(self) -> None:
        """End it without asking anybody."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def has_done(self) -> bool:
        return any(f"  {self.until}  {how}" in self.text() for how in ("done in", "already done"))

    def processes(self) -> list[psutil.Process]:
        """Return what this start has running, its own sleeping helpers and zombies left out."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found

    def victims(self, kind: str) -> list[psutil.Process]:
        return [process for process in self.processes() if _kind(process) == kind]


class HostStart(Start):
    """`prediff launch` on this host."""

    def begin(self) -> None:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "prediff",
                    "launch",
                    "--workers",
                    "2",
                    *arguments(self.name),
                ],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark},
            )

    def ended(self) -> bool:
        return self.process.poll() is not None


class SlurmStart(Start):
    """A job on the two nodes of `cluster`."""

    cluster = None

    def begin(self) -> None:
        self.log.unlink(missing_ok=True)
        os.environ[MARK] = self.mark
        command = ["sbatch", "--parsable", f"--output={self.log}", f"--chdir={self.folder}"]
        script = str(self.folder / "launch/cluster.slurm")
        found = self.cluster.run([*command, script, *arguments(self.name)], cwd=self.folder)
        self.job = found.stdout.strip()

    def ended(self) -> bool:
        return self.cluster.state(self.job) in ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL")

    def end(self) -> None:
        self.cluster.run(["scancel", self.job], check=False)
        deadline = time.monotonic() + CLEAN_SECONDS
        while not self.ended() and time.monotonic() < deadline:
            time.sleep(0.5)
        super().end()


def arguments(name: str) -> list[str]:
    return ["--name", name, *(f"--set={key}={value}" for key, value in SETTINGS.items())]


def _kind(process: psutil.Process) -> str | None:
    words, environ = process.cmdline(), process.environ()
    line = " ".join(words)
    if environ.get("MS_ROLE") == "MS_SCHED":
        return "scheduler"
    if environ.get("MS_ROLE") == "MS_WORKER":
        return "rank" if "prediff" in line else None
    if "bin/msrun" in line:
        return "msrun"
    if "hpc.cluster.supervisor" in line and "python" in Path(words[0]).name:
        return "supervisor"
    if "prediff launch" in line or "-m prediff launch" in line:
        return "launcher"
    if "prediff slurm" in line:
        return "batch step"
    if words and Path(words[0]).name == "srun":
        return "srun"
    return None


def wait(start: Start, moment: Callable[[], bool], *, timeout: float) -> str:
    """Wait for a moment; return ``there``, ``done`` or ``ended``."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if start.has_done():
            return "done"
        if moment():
            return "there"
        if start.ended():
            return "ended"
        time.sleep(0.1)
    start.end()
    raise AssertionError(f"{start.name} takes over {timeout:.0f} s:\n{start.text()[-4000:]}")


def seconds_until_gone(start: Start) -> float:
    """Return how long a start's processes live on.

    Raises:
        AssertionError: some do after a minute.
    """
    began = time.monotonic()
    while left := [process for process in start.processes() if _lives(process)]:
        passed = time.monotonic() - began
        assert passed < CLEAN_SECONDS, [(p.pid, " ".join(p.cmdline())[:120]) for p in left]
        time.sleep(0.1)
    return time.monotonic() - began


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def kill_one(start: Start, kind: str, *, timeout: float) -> float | None:
    """SIGKILL one process of a kind; return the seconds until all are gone, None if it was done."""
    lines, pause = random.randint(0, MOST_LINES), random.uniform(0, 1)
    found = wait(
        start,
        lambda: start.text().count("\n") >= lines and bool(start.victims(kind)),
        timeout=timeout,
    )
    assert found != "ended", f"{start.name} ended by itself:\n{start.text()[-4000:]}"
    if found == "done":
        start.end()
        seconds_until_gone(start)
        return None
    time.sleep(pause)
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        random.choice(start.victims(kind)).kill()
    began = time.monotonic()
    gone = seconds_until_gone(start)
    while not start.ended():
        assert time.monotonic() - began < 2 * CLEAN_SECONDS, start.text()[-4000:]
        time.sleep(0.1)
    return gone


def last_line(start: Start) -> str:
    """Return what a start said last about its end."""
    said = [line for line in start.text().splitlines() if line.startswith("error: ")]
    return said[-1].partition("; all logs")[0] if said else "(nobody was left to say)"


def drive(
    folder: Path,
    *,
    kills: int,
    slurm: bool = False,
    kinds: Sequence[str] | None = None,
    until: str = "diffusion",
    seed: int = 0,
    timeout: float = 900,
    seconds: float = 3e7,
) -> dict[str, object]:
    """Do all of it and return the report.

    Args:
        folder: of the runs; a run `undisturbed` that is there already is taken.
        kills: how many processes to kill.
        slurm: whether on the two nodes of a Slurm.
        kinds: of processes, in turn.
        until: the last stage to do.
        seed: of the random moments.
        timeout: seconds that one start may take.
        seconds: begin no new start to be killed after this time.

    Raises:
        AssertionError: a process outlives its start, a start needs more than the same command, or
            something differs from the undisturbed run.
    """
    random.seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = kinds or (ON_SLURM if slurm else ON_ONE_HOST)
    with contextlib.ExitStack() as stack:
        if slurm:
            sys.path.insert(0, str(Path(__file__).parent / "slurm"))
            from two_nodes import TwoNodes

            os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            (folder / "launch").unlink(missing_ok=True)
            (folder / "launch").symlink_to(PROJECT / "launch")
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
            SlurmStart.cluster = stack.enter_context(TwoNodes(place))
        kind_of_start = SlurmStart if slurm else HostStart
        undisturbed = folder / "runs" / "undisturbed"
        if not contents(undisturbed):
            start: Start = HostStart("undisturbed", folder, until)
            assert wait(start, lambda: False, timeout=timeout) == "done", start.text()[-4000:]
            start.end()
            seconds_until_gone(start)
        wanted = contents(undisturbed)
        print(f"undisturbed: {len(wanted)} files to compare", flush=True)
        deaths: Counter[str] = Counter()
        slowest: dict[str, float] = defaultdict(float)
        turns, runs, starts = itertools.cycle(kinds), 0, 0
        end = time.monotonic() + seconds
        kind = next(turns)
        while deaths.total() < kills and time.monotonic() < end:
            name = f"{'slurm' if slurm else 'host'}_{runs}"
            shutil.rmtree(folder / "runs" / name, ignore_errors=True)
            while True:
                start = kind_of_start(name, folder, until)
                starts += 1
                if deaths.total() >= kills or time.monotonic() > end:
                    found = wait(start, lambda: False, timeout=timeout)
                    assert found == "done", f"{name} ended early:\n{start.text()[-4000:]}"
                    start.end()
                    seconds_until_gone(start)
                    break
                gone = kill_one(start, kind, timeout=timeout)
                if gone is None:
                    break
                deaths[kind] += 1
                slowest[kind] = max(slowest[kind], gone)
                print(
                    f"kill {deaths.total()}: {kind} of {name}; all gone after {gone:.1f} s; "
                    f"last line: {last_line(start)}",
                    flush=True,
                )
                kind = next(turns)
            runs += 1
            found = contents(start.run)
            different = [k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k)]
            assert not different, f"{name} differs in {sorted(different)}"
            worst = largest_difference(start.run, undisturbed)
            assert worst == 0.0, f"{name}: losses differ by {worst}"
            print(f"{name}: all {len(wanted)} files and the losses are the same", flush=True)
    return {
        "kills": dict(deaths),
        "slowest_clean_up": {kind: round(gone, 1) for kind, gone in slowest.items()},
        "starts": starts,
        "finished_runs": runs,
        "files_compared": len(wanted),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--slurm", action="store_true")
    parser.add_argument("--kinds", nargs="+", choices=sorted({*ON_ONE_HOST, *ON_SLURM}))
    parser.add_argument("--until", choices=("autoencoder", "latents", "diffusion"))
    parser.set_defaults(until="diffusion")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=900, help="seconds of one start")
    parser.add_argument("--seconds", type=float, default=3e7, help="of all killed starts")
    print(json.dumps(drive(**vars(parser.parse_args())), indent=1))


if __name__ == "__main__":
    main()
