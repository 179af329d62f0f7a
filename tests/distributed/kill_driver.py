"""Kill a run again and again, start it again, and compare it with one that nobody disturbed.

    python tests/distributed/kill_driver.py --folder /tmp/kills --kills 20 --workers 2

The undisturbed run and the killed ones are `prediff run` or `prediff launch` with tiny networks.
Each way to die takes its turn:

    rank        SIGKILL to one rank at a random moment; the launcher must end the job
    all         SIGKILL to every process at a random moment
    checkpoint  SIGKILL to every process while a checkpoint is being written
    shard       SIGKILL to every process while a shard of the latents is being written

Weights, optimizer states, latents and losses must be the undisturbed run's, bit by bit; with
``--other-workers N`` an undisturbed run on N ranks must have the same losses to 1e-5.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from tensorboardX.proto.event_pb2 import Event

from hpc.checkpoint.store import find_latest
from hpc.cluster.rank_log import read_process

WAYS = ("rank", "all", "checkpoint", "shard")
STAGES = ("autoencoder", "latents", "diffusion")
TOLERANCE = 1e-5
MOST_LINES = 16
MARK = "KILL_DRIVER_JOB"
SETTINGS = {
    "data.synthetic.train_events": 6,
    "data.synthetic.test_events": 3,
    "data.frame_size": 16,
    "autoencoder.widths": "[8,8]",
    "autoencoder.norm_groups": 4,
    "autoencoder.latent_channels": 4,
    "denoiser.base_width": 8,
    "denoiser.depths": "[1]",
    "denoiser.num_heads": 2,
    **{
        f"train_{stage}.{key}": value
        for stage in ("autoencoder", "diffusion")
        for key, value in {
            "duration": "24 steps",
            "global_batch": 4,
            "log_every": 1,
            "validate_every": 100,
            "checkpoint_every": 3,
        }.items()
    },
}


@dataclass
class Job:
    """One start of a run."""

    folder: Path
    name: str
    workers: int
    settings: dict[str, object]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        start = ["run"] if self.workers == 1 else ["launch", "--workers", str(self.workers)]
        overrides = itertools.chain(*(("--set", f"{k}={v}") for k, v in self.settings.items()))
        self.output = self.folder / f"{self.name}.log"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prediff", *start, "--name", self.name, *overrides],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark, "OMP_NUM_THREADS": "1"},
            )

    @property
    def run(self) -> Path:
        return self.folder / "runs" / self.name

    def has_done(self, stage: str) -> bool:
        text = self.output.read_text(errors="replace")
        return f"  {stage}  done in" in text or f"  {stage}  already done" in text

    def has_printed(self, lines: int) -> bool:
        return self.output.read_bytes().count(b"\n") >= lines

    def ranks(self) -> list[int]:
        """Return the process numbers of the ranks that have started."""
        if self.workers == 1:
            return [self.process.pid]
        found = (read_process(self.run / "log", rank) for rank in range(self.workers))
        return [pid for pid in found if pid is not None]

    def kill(self, pids: Sequence[int]) -> None:
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()

    def kill_all(self) -> None:
        self.kill([*self.ranks(), self.process.pid])
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark:
                    process.kill()
        self.process.wait()


def is_writing_checkpoint(run: Path) -> bool:
    return any(run.glob("*/checkpoints/.step_*.aside"))


def is_writing_shard(run: Path) -> bool:
    return any(run.glob("latents/*/*/*/manifest/.shard_*.aside"))


def wait(job: Job, moment: Callable[[], bool], *, until: str, timeout: float) -> str:
    """Wait for a moment; return ``there``, ``done`` (the stage `until` is) or ``ended``."""
    deadline = time.monotonic() + timeout
    looked = 0.0
    while time.monotonic() < deadline:
        if moment():
            return "there"
        if time.monotonic() - looked > 0.2:
            looked = time.monotonic()
            if job.has_done(until):
                return "done"
            if job.process.poll() is not None:
                return "ended"
        time.sleep(0.001)
    job.kill_all()
    raise AssertionError(f"{job.name} takes over {timeout:.0f} s:\n{job.output.read_text()}")


def kill_once(job: Job, way: str, *, until: str, timeout: float) -> str:
    """Kill a job in one way; return ``killed``, or ``done`` if it was quicker.

    A random moment is some time after a random line of its output: every step writes a line.

    Raises:
        AssertionError: the launcher of a dead rank lived on for a minute.
    """
    lines, pause = random.randint(0, MOST_LINES), random.uniform(0, 1)
    moments = {
        "rank": lambda: job.has_printed(lines) and len(job.ranks()) == job.workers,
        "all": lambda: job.has_printed(lines),
        "checkpoint": lambda: is_writing_checkpoint(job.run),
        "shard": lambda: is_writing_shard(job.run),
    }
    found = wait(job, moments[way], until=until, timeout=timeout)
    assert found != "ended", f"{job.name} ended by itself:\n{job.output.read_text()}"
    if found == "done":
        job.kill_all()
        return "done"
    if way in ("rank", "all"):
        time.sleep(pause)
    if way == "rank" and job.workers > 1:
        job.kill([random.choice(job.ranks())])
        job.process.wait(60)
        left = [p.pid for p in psutil.process_iter() if _has_mark(p, job.mark)]
        assert not left, f"processes {left} outlive the launcher"
    else:
        job.kill_all()
    return "killed"


def _has_mark(process: psutil.Process, mark: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.environ().get(MARK) == mark
    return False


def finish(job: Job, *, until: str, timeout: float) -> float:
    """Let a job do its stages up to `until`; return the seconds."""
    began = time.monotonic()
    found = wait(job, lambda: False, until=until, timeout=timeout)
    job.kill_all()
    assert found == "done", f"{job.name} ended early:\n{job.output.read_text()}"
    return time.monotonic() - began


def contents(run: Path) -> dict[str, str]:
    """Return SHA-256 sums of all that must be the same: newest checkpoints and latents."""
    sums = {}
    for stage in ("autoencoder", "diffusion"):
        newest = find_latest(run / stage / "checkpoints")
        if newest is not None:
            files = json.loads((newest / "manifest.json").read_text())["files"]
            sums |= {
                f"{stage}/{newest.name}/{name}": entry["sha256"]
                for name, entry in files.items()
                if name.endswith(".safetensors")
            }
    for marker in sorted(run.glob("latents/*/*/*/manifest/shard_*.json")):
        files = json.loads(marker.read_text())["files"]
        sums |= {f"{marker.relative_to(run)}/{n}": f["sha256"] for n, f in files.items()}
    return sums


def losses(run: Path) -> dict[str, dict[int, float]]:
    """Return the loss curves; of a step that was made twice, the later attempt's value."""
    curves: dict[str, dict[int, float]] = {"autoencoder": {}, "diffusion": {}}
    for stage, curve in curves.items():
        for file in sorted((run / stage).glob("events.out.*"), key=lambda f: f.stat().st_mtime):
            for event in _events(file.read_bytes()):
                for value in event.summary.value:
                    if value.tag == "loss/training":
                        curve[event.step] = value.simple_value
    return curves


def _events(data: bytes) -> list[Event]:
    """Read TensorBoard's records: length, its sum, the event, its sum; the last may be torn."""
    events, start = [], 0
    while start + 12 <= len(data):
        length = int.from_bytes(data[start : start + 8], "little")
        body = data[start + 12 : start + 12 + length]
        if len(body) < length:
            break
        events.append(Event.FromString(body))
        start += 16 + length
    return events


def largest_difference(ours: Path, reference: Path) -> float:
    """Return the largest relative difference of two runs' losses, over the steps of both."""
    worst = 0.0
    for stage, curve in losses(reference).items():
        other = losses(ours)[stage]
        steps = sorted(set(curve) & set(other))
        assert len(steps) >= len(curve) - 1, f"{stage}: {len(steps)} of {len(curve)} losses"
        if steps:
            a, b = (np.array([c[s] for s in steps]) for c in (curve, other))
            worst = max(worst, float(np.max(np.abs(a - b) / np.abs(a))))
    return worst


def drive(
    folder: Path,
    *,
    kills: int,
    workers: int,
    other_workers: int | None,
    until: str,
    ways: Sequence[str] = WAYS,
    seed: int = 0,
    timeout: float = 600,
    seconds: float = 3e7,
    settings: dict[str, object] = SETTINGS,
) -> dict[str, object]:
    """Do all of it and return the report.

    Args:
        folder: a new folder for the runs.
        kills: how often to kill.
        workers: ranks of the killed runs.
        other_workers: ranks of one more undisturbed run; None for none.
        until: the last stage to do.
        ways: to die, in turn.
        seed: of the random moments.
        timeout: seconds that one start may take.
        seconds: begin no new start of a killed run after this time.
        settings: overrides of the tiny configuration.

    Raises:
        AssertionError: something differs from the undisturbed run.
    """
    random.seed(seed)
    folder.mkdir(parents=True, exist_ok=True)

    def start(name: str, ranks: int = workers) -> Job:
        return Job(folder=folder, name=name, workers=ranks, settings=settings)

    undisturbed = start("undisturbed")
    duration = finish(undisturbed, until=until, timeout=timeout)
    wanted = contents(undisturbed.run)
    assert wanted
    print(f"undisturbed: {duration:.0f} s, {len(wanted)} files to compare", flush=True)
    deaths: Counter[str] = Counter()
    turns = itertools.cycle(ways)
    way = next(turns)
    runs, starts, worst = 0, 0, 0.0
    end = time.monotonic() + seconds
    while deaths.total() < kills and time.monotonic() < end:
        name = f"killed_{runs}"
        while True:
            job = start(name)
            starts += 1
            if deaths.total() >= kills or time.monotonic() > end:
                finish(job, until=until, timeout=timeout)
                break
            if kill_once(job, way, until=until, timeout=timeout) == "done":
                break
            deaths[way] += 1
            print(f"kill {deaths.total()}: {way} of {name}", flush=True)
            way = next(turns)
        runs += 1
        found = contents(job.run)
        different = [
            key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)
        ]
        assert not different, f"{name} differs in {sorted(different)}"
        worst = max(worst, largest_difference(job.run, undisturbed.run))
        assert worst == 0.0, f"{name}: losses differ by {worst}"
        print(f"{name}: all {len(wanted)} files and the losses are the same", flush=True)
    report: dict[str, object] = {
        "workers": workers,
        "kills": dict(deaths),
        "starts": starts,
        "completed_runs": runs,
        "files_compared": len(wanted),
        "undisturbed_seconds": round(duration),
    }
    if other_workers is not None:
        other = start("other_mesh", other_workers)
        finish(other, until=until, timeout=timeout)
        difference = largest_difference(other.run, undisturbed.run)
        report["other_workers"], report["largest_loss_difference"] = other_workers, difference
        assert difference <= TOLERANCE, f"losses on {other_workers} ranks differ by {difference}"
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--other-workers", type=int)
    parser.add_argument("--until", choices=STAGES, default="diffusion")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=600, help="seconds of one start")
    parser.add_argument("--seconds", type=float, default=3e7, help="of all killed starts")
    print(json.dumps(drive(**vars(parser.parse_args())), indent=1))


if __name__ == "__main__":
    main()
