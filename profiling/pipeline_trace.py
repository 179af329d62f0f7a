"""Train a few steps on a real pipeline, and hold the simulator and the plan to what was measured.

    msrun --worker_num=2 --local_worker_num=2 --master_port=21950 --join=True --log_dir=/tmp/log \
        python -m profiling pipeline-trace docs/benchmarks/pipeline_trace_1x2 --width 128

Rank 0 writes OUT.json (every action of the fastest step, with its start and end) and OUT.png
(measured above, simulated below), and prints the measured and the simulated time of that step, the
bubble, what a message costs its sender, the host's work between compiled passes, and what
`prediff plan` says. The simulator gets the mean
time of each chunk's passes in that step, so what it is held to is how they interlock; ranks that
share a core slow each other down in both. The network has a size of its own: long chunks, so that
what is measured is the schedule.
"""

import json
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from hpc.environment import prepare_environment

prepare_environment()

from matplotlib import pyplot as plt  # noqa: E402
from mindspore import Tensor, nn  # noqa: E402

from hpc.cluster.mesh import Mesh  # noqa: E402
from hpc.cluster.runtime import Runtime, start_runtime  # noqa: E402
from hpc.pipeline.actions import Action, Backward, Forward, Receive, Schedule, Send  # noqa: E402
from hpc.pipeline.costs import StageCosts  # noqa: E402
from hpc.pipeline.engine import PipelineEngine  # noqa: E402
from hpc.pipeline.folded import FoldedEngine  # noqa: E402
from hpc.pipeline.simulate import Played, simulate  # noqa: E402
from hpc.train.step import TrainStep  # noqa: E402
from prediff.config import Config, load_config  # noqa: E402
from prediff.diffusion import DiffusionLoss, noise_schedule  # noqa: E402
from prediff.diffusion.pipelined_loss import chunks_of_rank  # noqa: E402
from prediff.models import build_denoiser  # noqa: E402
from prediff.planning.plan import plan  # noqa: E402
from prediff.training.denoiser_step import SCALAR_NAMES  # noqa: E402
from prediff.training.parallelize import denoiser_blocks  # noqa: E402
from profiling.pipeline_bubbles import draw_timeline  # noqa: E402

Timed = tuple[Action, float, float]
"""(action, start, end), seconds."""


def make_config(
    path: Path | None, *, width: int, depth: int, stages: int, micro_batches: int
) -> Config:
    """Return a configuration with a denoiser of two levels, one sample a micro-batch."""
    return load_config(
        path,
        [
            f"denoiser.base_width={width}",
            f"denoiser.depths=[{depth},{depth}]",
            f"train_diffusion.global_batch={micro_batches}",
            "train_diffusion.micro_batch=1",
            f"parallel.pipeline={stages}",
        ],
    )


def make_step(config: Config, runtime: Runtime, seen: list[Timed]) -> tuple[TrainStep, Schedule]:
    """Return the step of this rank's stage, which tells what it does, and its schedule."""
    stages = config.parallel.pipeline
    loss = DiffusionLoss(
        build_denoiser(config), schedule=noise_schedule(name="linear", num_steps=1000)
    )
    loss.set_train(True)
    costs = denoiser_blocks(config).costs
    passes = FoldedEngine(
        chunks_of_rank(loss, stages=stages, stage=runtime.place.rank, costs=costs),
        runtime=runtime,
        mesh=Mesh(pipeline=stages),
        micro_batches=config.train_diffusion.global_batch,
        observe=lambda *action: seen.append(action),
    )
    engine = PipelineEngine(passes, scalars=len(SCALAR_NAMES))
    step = TrainStep(engine, scalar_names=SCALAR_NAMES, weight_decay=0.0, max_norm=1.0)
    return step, passes.schedule


def batch(config: Config) -> tuple[np.ndarray, ...]:
    """Return random inputs of the loss Cell."""
    random = np.random.default_rng(0)
    samples = config.train_diffusion.global_batch
    size, channels = config.latent_size, config.autoencoder.latent_channels
    frames = config.data.forecast_frames, config.data.context_frames
    clean, noise, condition = (
        random.standard_normal((samples, count, size, size, channels), np.float32)
        for count in (frames[0], *frames)
    )
    step = random.integers(1000, size=samples).astype(np.int32)
    return clean, noise, step, condition, np.arange(samples, dtype=np.int32)


def costs_of(played: Sequence[Played], *, chunks: int) -> StageCosts:
    """Return the mean time of each chunk's passes, and what a message takes its sender."""
    host = statistics.median(p.end - p.start for p in played if isinstance(p.action, Send))

    def mean(kind: type[Forward | Backward], chunk: int) -> float:
        times = [
            p.end - p.start
            for p in played
            if isinstance(p.action, kind) and p.action.chunk == chunk
        ]
        return max(0.0, statistics.mean(times) - host)  # the simulator adds it to every action

    return StageCosts(
        forward=tuple(mean(Forward, c) for c in range(chunks)),
        backward=tuple(mean(Backward, c) for c in range(chunks)),
        host=host,
    )


def host_of_a_pass(played: Sequence[Played], *, last: int) -> tuple[float, float]:
    """Return the host's seconds between two compiled passes, and a pass's mean seconds.

    The host's are those between actions, of sends, and of the last chunk's forward passes, which
    only keep what arrived; not those of receives, which wait.
    """
    host, passes = 0.0, []
    for rank in {p.rank for p in played}:
        own = [p for p in played if p.rank == rank]
        host += sum(after.start - before.end for before, after in pairwise(own))
    for p in played:
        kept = isinstance(p.action, Forward) and p.action.chunk == last
        if kept or isinstance(p.action, Send):
            host += p.end - p.start
        elif not isinstance(p.action, Receive):
            passes.append(p.end - p.start)
    return host / len(passes), statistics.mean(passes)


def empty_call() -> float:
    """Return the seconds that the call of a compiled Cell takes which computes nothing."""
    cell, array = nn.Identity(), Tensor(np.zeros((1, 1), np.float32))
    times = []
    for _ in range(100):
        began = time.perf_counter()
        cell(array).asnumpy()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main(
    *,
    out: Path,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="whose latents and heads [default: tiny]")
    ] = None,
    width: int = 64,
    depth: Annotated[int, typer.Option(help="blocks of each of two levels")] = 1,
    micro_batches: int = 4,
    steps: int = 5,
) -> None:
    with start_runtime(device="cpu") as runtime:
        config = make_config(
            config_file,
            width=width,
            depth=depth,
            stages=runtime.place.size,
            micro_batches=micro_batches,
        )
        seen: list[Timed] = []
        step, schedule = make_step(config, runtime, seen)
        inputs = batch(config)
        step.compile(*inputs)
        step(*inputs, learning_rate=1e-3).read()
        times: list[list[list[tuple[float, float]]]] = []
        whole = []
        for _ in range(steps):
            seen.clear()
            runtime.barrier()
            began = time.perf_counter()
            step(*inputs, learning_rate=1e-3).read()
            whole.append(time.perf_counter() - began)
            # The ranks of one host share a clock.
            times.append(runtime.all_gather_object([(start, end) for _, start, end in seen]))
        if runtime.is_first:
            report(schedule, times, out)
            predicted = plan(config=config, nodes=1, per_node=runtime.place.size, device="cpu")
            print(
                f"whole step, update included: {min(whole):.3f} s (median "
                f"{statistics.median(whole):.3f} s); "
                f"plan: {predicted.configured.step_seconds:.3f} s"
            )


def report(
    schedule: Schedule, steps: Sequence[Sequence[Sequence[tuple[float, float]]]], out: Path
) -> None:
    """Compare the fastest step, the least disturbed one, with its simulation; draw both."""

    def played_in(step: Sequence[Sequence[tuple[float, float]]]) -> list[Played]:
        origin = min(start for times in step for start, _ in times)
        return [
            Played(rank, action, start - origin, end - origin)
            for rank, times in enumerate(step)
            for action, (start, end) in zip(schedule.ranks[rank], times, strict=True)
        ]

    played = min(map(played_in, steps), key=lambda step: max(p.end for p in step))
    span, ranks = max(p.end for p in played), len(schedule.ranks)
    costs = costs_of(played, chunks=schedule.chunks)
    found = simulate(schedule, costs)
    waits = sum(p.end - p.start for p in played if isinstance(p.action, Send | Receive))
    inside = sum(p.end - p.start for p in played)
    longest = max(*costs.forward, *costs.backward)
    print(f"{schedule.name}, {ranks} ranks, {schedule.micro_batches} micro-batches")
    print(
        f"longest pass of a chunk {longest:.4f} s; a message takes its sender {costs.host:.4f} s, "
        f"{costs.host / longest:.1%} of that"
    )
    print(f"measured {span:.4f} s, simulated {found.makespan:.4f} s, {found.makespan / span:.3f}")
    between, mean = host_of_a_pass(played, last=schedule.chunks - 1)
    call = empty_call()
    print(
        f"host between passes {between * 1e3:.2f} ms, an empty call {call * 1e3:.2f} ms; "
        f"a pass {mean:.4f} s: {(between + call) / mean:.2%}"
    )
    print(f"bubble measured {1 - (inside - waits) / (span * ranks):.1%}, ", end="")
    print(f"simulated {found.bubble:.1%}")
    out.with_suffix(".json").write_text(
        json.dumps([[p.rank, repr(p.action), p.start, p.end] for p in played], indent=0)
    )
    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 4), sharex=True)
    draw_timeline(above, played, chunks=schedule.chunks, title="measured")
    draw_timeline(below, found.timeline, chunks=schedule.chunks, title="simulated")
    below.set_xlabel("ms (colour: chunk; light: forward, full: backward)")
    figure.tight_layout()
    figure.savefig(out.with_suffix(".png"))
