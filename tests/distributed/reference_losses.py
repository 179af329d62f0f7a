"""Train very small fixed jobs and write every loss bit by bit: what a refactoring must not change.

    python tests/distributed/reference_losses.py before.json
    python tests/distributed/reference_losses.py after.json --against before.json

Run it at the commit before and at the commit after. It writes all curves of every job as
hexadecimal floats, and digests of weights, moments, averages and forecasts; with `--against` it
ends with code 1 and names the first difference. `base` and `ranks` are whole runs, the others start
from the data, or more, of `base`; `--jobs` chooses some. Jobs that are finished in `--folder` are
not run again. They go through the command line alone, so that the script serves every commit since
b810dcb. Ten minutes of two cores: every commit compiles its graphs anew.
"""

import argparse
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SMALLEST = (
    "data.frame_size=32",
    "data.synthetic.train_events=8",
    "data.synthetic.test_events=3",
    "autoencoder.widths=[8,8]",
    "autoencoder.latent_channels=4",
    "autoencoder.norm_groups=4",
    "denoiser.base_width=8",
    "denoiser.depths=[2]",
    "denoiser.feed_forward_dropout=0.1",
    "alignment.base_width=8",
    "alignment.depths=[1]",
    "diffusion.variational_weight=0.001",
    "forecast.cases=1",
    "forecast.steps=2",
    "forecast.ensemble_members=2",
    *(
        f"train_{task}.{setting}"
        for task in ("autoencoder", "diffusion", "alignment")
        for setting in ("duration=4 steps", "global_batch=4", "log_every=1", "checkpoint_every=2")
    ),
)
GUIDED = ("forecast.guidance.source=climatology",)
PIPELINED = ("parallel.pipeline=2",)

CLOCKED = {
    "compile_seconds",
    "data_wait_share",
    "goodput",
    "mfu",
    "samples_per_second",
    "step_seconds",
}


@dataclass(frozen=True)
class Job:
    """A command on a copy of the base run's data, or of more of it."""

    command: tuple[str, ...]
    ranks: int = 1
    settings: tuple[str, ...] = ()
    keep: tuple[str, ...] | None = ("data", "autoencoder", "latents", "config.yaml")
    """What is copied from the base run; None starts with nothing."""
    forget: str | None = None
    """A checkpoint that is removed from the copy, so that the job goes on from the one before."""


TRAIN = ("train", "diffusion")
ADVERSARIAL = (
    "train_autoencoder.adversarial.start_step=2",
    "train_autoencoder.adversarial.base_width=4",
)
JOBS = {
    "base": Job(("run",), settings=GUIDED, keep=None),
    "ranks": Job(("run",), ranks=2, keep=None),
    "adversarial": Job(("train", "autoencoder"), settings=ADVERSARIAL, keep=("data",)),
    "adversarial_ranks": Job(
        ("train", "autoencoder"), ranks=2, settings=ADVERSARIAL, keep=("data",)
    ),
    "accumulated": Job(TRAIN, settings=("train_diffusion.micro_batch=1",)),
    "accumulated_ranks": Job(TRAIN, ranks=2, settings=("train_diffusion.micro_batch=1",)),
    "continued": Job(
        TRAIN,
        keep=("data", "autoencoder", "latents", "config.yaml", "diffusion"),
        forget="diffusion/checkpoints/step_00000004",
    ),
    "recomputed": Job(TRAIN, settings=("denoiser.recompute=true",)),
    "sharded": Job(TRAIN, ranks=2, settings=("parallel.shard_optimizer=true",)),
    "pipeline_1x2": Job(TRAIN, ranks=2, settings=PIPELINED),
    "pipeline_2x2": Job(TRAIN, ranks=4, settings=PIPELINED),
    "pipeline_2x2_sharded": Job(
        TRAIN, ranks=4, settings=(*PIPELINED, "parallel.shard_optimizer=true")
    ),
}


def main() -> None:
    if sys.argv[1:2] == ["--rank"]:  # one rank of a job, started below
        del sys.argv[1]
        os._exit = sys.exit  # type: ignore[assignment]  # without our launcher ranks take leave
        from prediff.cli import main as prediff

        prediff()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--against", type=Path, help="losses of the commit before")
    parser.add_argument("--jobs", nargs="+", default=tuple(JOBS), choices=JOBS)
    parser.add_argument("--folder", type=Path, help="keep the runs here")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds of each job")
    options = parser.parse_args()
    names = list(dict.fromkeys(("base", *options.jobs)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        found = {}
        for name in names:
            found[name] = _read(_run(name, folder, timeout=options.timeout))
            print(f"{name}: {len(found[name])} values", flush=True)
    options.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    if options.against is not None:
        before = json.loads(options.against.read_text())
        apart = list(_differences({name: before[name] for name in names if name in before}, found))
        if apart:
            print(f"{len(apart)} values differ, the first of them {apart[0]}")
            sys.exit(1)
        print("every value is the same, bit by bit")


def _run(name: str, folder: Path, *, timeout: float) -> Path:
    """Run a job and return its run folder."""
    job = JOBS[name]
    home, base = folder / name, folder / "base" / "runs" / "job"
    run, finished = home / "runs" / "job", home / "finished"
    if finished.exists():
        return run
    run.mkdir(parents=True)
    for part in job.keep or ():
        if (base / part).is_dir():
            shutil.copytree(base / part, run / part, symlinks=True)
        else:
            shutil.copy2(base / part, run / part)
    if job.forget is not None:
        shutil.rmtree(run / job.forget)
        for events in run.glob("*/events.*"):
            events.unlink()
    # A copy with a configuration goes on with that.
    settings = job.settings if "config.yaml" in (job.keep or ()) else (*SMALLEST, *job.settings)
    arguments = [*job.command, "--name", "job", *(t for s in settings for t in ("--set", s))]
    command = [str(Path(__file__).resolve()), "--rank", *arguments]
    # Threads share sums out: one thread a rank makes one order.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", "PATH": path}
    if job.ranks == 1:
        command = [sys.executable, *command]
    else:
        options = {
            "worker_num": job.ranks,
            "local_worker_num": job.ranks,
            "master_addr": "127.0.0.1",
            "master_port": _free_port(),
            "join": True,
            "log_dir": home / "log",
            "cluster_time_out": 300,
        }
        command = ["msrun", *(f"--{key}={value}" for key, value in options.items()), *command]
        environ |= {"MS_NODE_TIMEOUT": "120"}
    with (home / "said.log").open("wb") as said:
        job_process = subprocess.run(
            command,
            cwd=home,
            env=environ,
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    if job_process.returncode:
        logs = [home / "said.log", *home.glob("log/*.log"), *run.glob("log/*.log")]
        for log in logs:
            print(f"--- {log}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
        sys.exit(f"{name} ended with code {job_process.returncode}")
    finished.touch()
    return run


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _read(run: Path) -> dict[str, str]:
    """Return what a run computed: curves, and digests of its newest checkpoints and forecasts."""
    found = dict(_curves(run))
    for checkpoints in sorted(run.glob("*/checkpoints")):
        newest = sorted(checkpoints.glob("step_*"))[-1]
        task = checkpoints.parent.name
        for file in sorted(newest.glob("*.safetensors")):
            for name, array in _arrays(file):
                digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
                found[f"{task}/{newest.name}/{file.stem}/{name}"] = digest
        scores = json.loads((newest / "state.json").read_text())["scores"]
        for name, value in scores.items():
            found[f"{task}/{newest.name}/scores/{name}"] = float(value).hex()
    for file in sorted(run.glob("forecast/*.nc")):
        found[f"forecast/{file.name}"] = _forecast_digest(file)
    return found


def _curves(run: Path) -> Iterator[tuple[str, str]]:
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for folder in sorted({file.parent for file in run.glob("*/events.*")}):
        if not (folder / "checkpoints").is_dir():
            continue
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        for tag in sorted(events.Tags()["scalars"]):
            name = _curve(tag, task=folder.name)
            for point in events.Scalars(tag) if name else ():
                yield f"{folder.name}/{name}/{point.step}", float(point.value).hex()


def _curve(tag: str, *, task: str) -> str | None:
    """Return a curve's name at every commit, or None for what the clock or another curve says."""
    group, _, name = tag.removeprefix(f"{task}/").rpartition("/")
    if group in ("speed", "time", "goodput") or name in CLOCKED or tag.startswith("loss/valid"):
        return None
    if group in ("loss", "loss_parts", "optimizer"):
        return "loss" if name == "training" else name
    return f"{group}/{name}" if group else name


def _arrays(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    from safetensors.numpy import load_file

    yield from sorted(load_file(file).items())


def _forecast_digest(file: Path) -> str:
    import xarray

    digest = hashlib.sha256()
    with xarray.open_dataset(file, decode_cf=False) as dataset:
        for name in sorted(map(str, dataset.variables)):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(dataset.variables[name].values).tobytes())
    return digest.hexdigest()[:16]


def _differences(before: dict, after: dict) -> Iterator[str]:
    for job, old in before.items():
        new = after.get(job, {})
        for key in sorted({*old, *new}, key=_in_order):
            if old.get(key) != new.get(key):
                yield f"{job}: {key}: {_shown(old.get(key))} before, {_shown(new.get(key))} after"


def _in_order(key: str) -> tuple:
    """Curves by step, before weights: the first difference is the cause of the others."""
    last = key.rsplit("/", 1)[-1]
    return (0, int(last), key) if last.isdigit() else (1, 0, key)


def _shown(value: str | None) -> str:
    if value is None:
        return "nothing"
    return f"{value} ({float.fromhex(value):.9g})" if value.lstrip("-").startswith("0x") else value


if __name__ == "__main__":
    main()
