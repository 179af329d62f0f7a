"""Train a few steps on a real pipeline, and hold the simulator to what was measured.

    msrun --worker_num=2 --local_worker_num=2 --master_port=21950 --join=True --log_dir=/tmp/log \
        python profiling/pipeline_trace.py OUT --width 64 --micro-batches 4

Rank 0 writes OUT.json (every action with its start and end) and OUT.svg (measured above, simulated
below) and prints measured and simulated time of a step, the bubble, and the share of time in which
a rank was neither computing nor waiting for a message. The network has a size of its own: long
chunks, so that what is measured is the schedule.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np

from hpc.environment import prepare_environment

prepare_environment()

from matplotlib import pyplot as plt  # noqa: E402

from hpc.mesh import Mesh  # noqa: E402
from hpc.pipeline.actions import Action, Backward, Forward, Receive, Send  # noqa: E402
from hpc.pipeline.costs import StageCosts  # noqa: E402
from hpc.pipeline.schedule import folded_one_forward_one_backward  # noqa: E402
from hpc.pipeline.simulate import Played, simulate  # noqa: E402
from hpc.pipeline.step import PipelineTrainStep  # noqa: E402
from hpc.runtime import start_runtime  # noqa: E402
from prediff.config import Config  # noqa: E402
from prediff.diffusion import DiffusionLoss, noise_schedule  # noqa: E402
from prediff.diffusion.pipelined_loss import chunks_of_rank  # noqa: E402
from prediff.models import build_denoiser  # noqa: E402
from prediff.models.denoiser_cost import DenoiserCost  # noqa: E402
from profiling.pipeline_bubbles import draw_timeline  # noqa: E402


def batch(config: Config, samples: int) -> tuple[np.ndarray, ...]:
    """Return random inputs of the loss Cell."""
    random = np.random.default_rng(0)
    size, channels = config.latent_size, config.autoencoder.latent_channels
    frames = config.data.forecast_frames, config.data.context_frames
    clean, noise, condition = (
        random.standard_normal((samples, count, size, size, channels), np.float32)
        for count in (frames[0], *frames)
    )
    step = random.integers(1000, size=samples).astype(np.int32)
    return clean, noise, step, condition, np.arange(samples, dtype=np.int32)


def costs_of(played: list[Played], *, chunks: int) -> StageCosts:
    """Return the median time of every pass, and of a send on the host."""

    def median(kind: type, chunk: int) -> float:
        times = [
            p.end - p.start
            for p in played
            if isinstance(p.action, kind) and p.action.chunk == chunk  # type: ignore[union-attr]
        ]
        return statistics.median(times)

    sends = [p.end - p.start for p in played if isinstance(p.action, Send)]
    return StageCosts(
        forward=tuple(median(Forward, c) for c in range(chunks)),
        backward=tuple(median(Backward, c) for c in range(chunks)),
        latency=statistics.median(sends) if sends else 0.0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=1, help="blocks of each of two levels")
    parser.add_argument("--micro-batches", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    config = Config.model_validate(
        {"denoiser": {"base_width": options.width, "depths": (options.depth,) * 2}}
    )
    with start_runtime(device="cpu") as runtime:
        stages = runtime.place.size
        mesh = Mesh(pipeline=stages)
        loss = DiffusionLoss(
            build_denoiser(config), schedule=noise_schedule(name="linear", num_steps=1000)
        )
        loss.set_train(True)
        counted = DenoiserCost(config)
        seen: list[tuple[Action, float, float]] = []
        step = PipelineTrainStep(
            chunks_of_rank(
                loss,
                stages=stages,
                stage=runtime.place.rank,
                costs=[counted.cost(block).operations for block in counted.blocks],
            ),
            runtime=runtime,
            mesh=mesh,
            micro_batches=options.micro_batches,
            scalar_names=("mean_squared_error", "variational_term"),
            weight_decay=0.0,
            max_norm=1.0,
            observe=lambda *action: seen.append(action),
        )
        inputs = batch(config, options.micro_batches)
        step.compile(*inputs)
        step(*inputs, learning_rate=1e-3).read()
        seen.clear()
        runtime.barrier()
        for _ in range(options.steps):
            step(*inputs, learning_rate=1e-3).read()
        # The ranks of one host share a clock.
        mine = [(number, a, b) for number, (_, a, b) in enumerate(seen)]
        everyone = runtime.all_gather_object(mine)
        if runtime.is_first:
            report(step, everyone, options)


def report(step: PipelineTrainStep, everyone: list, options: argparse.Namespace) -> None:
    """Compare measurement and simulation; write the trace and the picture."""
    schedule = step.schedule
    played = [
        Played(rank, schedule.ranks[rank][number % len(schedule.ranks[rank])], start, end)
        for rank, actions in enumerate(everyone)
        for number, start, end in actions
    ]
    numbers = [number for actions in everyone for number, _, _ in actions]
    lengths = [len(schedule.ranks[rank]) for rank, actions in enumerate(everyone) for _ in actions]
    in_step = [number // length for number, length in zip(numbers, lengths, strict=True)]
    steps = [
        [p for p, k in zip(played, in_step, strict=True) if k == number]
        for number in range(options.steps)
    ]
    spans = [max(p.end for p in s) - min(p.start for p in s) for s in steps]
    costs = costs_of(played, chunks=schedule.chunks)
    found = simulate(schedule, costs)
    # The fastest step: others were disturbed by whatever else the machine does.
    best = spans.index(min(spans))
    busy = sum(p.end - p.start for p in steps[best] if not isinstance(p.action, Send | Receive)) / (
        spans[best] * len(schedule.ranks)
    )
    inside = sum(p.end - p.start for p in steps[best]) / (spans[best] * len(schedule.ranks))
    print(f"measured {min(spans):.4f} s (median {statistics.median(spans):.4f} s)")
    print(f"simulated {found.makespan:.4f} s, ratio {min(spans) / found.makespan:.3f}")
    print(f"bubble measured {1 - busy:.1%}, simulated {found.bubble:.1%}; glue {1 - inside:.2%}")
    ideal = simulate(
        folded_one_forward_one_backward(
            stages=len(schedule.ranks), micro_batches=schedule.micro_batches, costs=costs
        ),
        costs,
    )
    print(f"simulated with the order for these times {ideal.makespan:.4f} s")
    origin = min(p.start for p in steps[best])
    moved = [Played(p.rank, p.action, p.start - origin, p.end - origin) for p in steps[best]]
    options.out.with_suffix(".json").write_text(
        json.dumps([[p.rank, repr(p.action), p.start, p.end] for p in moved], indent=0)
    )
    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 4), sharex=True)
    draw_timeline(above, moved, chunks=schedule.chunks, title="measured")
    draw_timeline(below, found.timeline, chunks=schedule.chunks, title="simulated")
    below.set_xlabel("ms (colour: chunk; light: forward, full: backward)")
    figure.tight_layout()
    figure.savefig(options.out.with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
