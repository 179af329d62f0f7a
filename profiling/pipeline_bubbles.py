"""Compare pipeline schedules on the published denoiser by simulation.

    python -m profiling pipeline-bubbles docs/benchmarks

writes ``pipeline.png``, a Gantt picture, and prints the table of ``pipeline.md``. Chunks take
their operations over an assumed rate; messages their bytes over an assumed link.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from hpc.pipeline.actions import Action, Forward, Receive, Send
from hpc.pipeline.costs import StageCosts
from hpc.pipeline.partition import fold_blocks
from hpc.pipeline.schedule import (
    folded_one_forward_one_backward,
    folded_split_backward,
    one_forward_one_backward,
)
from hpc.pipeline.simulate import Played, Simulation, simulate
from prediff.config import Config
from prediff.models.denoiser_cost import DenoiserCost
from prediff.models.unet_chunks import unet_skips

RATE = 0.4 * 354e12  # operations a second: an assumed 40 % of a 910B2's peak
LINK = 25e9  # bytes a second: assumed
STAGES, MICRO_BATCHES = (2, 4, 8), (4, 8, 16, 32)
PUBLISHED = {
    "data": {"frame_size": 128},
    "autoencoder": {"latent_channels": 64, "widths": (128, 256, 512, 512)},
    "denoiser": {"base_width": 256, "depths": (4, 4), "num_heads": 4},
}


class Denoiser:
    """The published denoiser as blocks with seconds and bytes, batch 1."""

    def __init__(self) -> None:
        self.costs = DenoiserCost(Config.model_validate(PUBLISHED))
        self.seconds = [self.costs.cost(b).operations / RATE for b in self.costs.blocks]
        self.skips = unet_skips([4, 4])

    def stage_costs(self, bounds: Sequence[int], *, backward: float, halves=(0.0, 0.0)):
        """Return the costs of chunks and of the messages between them, skips included."""
        chunks = range(len(bounds) - 1)
        forward = [sum(self.seconds[bounds[c] : bounds[c + 1]]) for c in chunks]
        blocks = self.costs.blocks
        sizes = {
            (c, c + 1): 4.0 * self.costs.stream_numbers(blocks[bounds[c + 1] - 1])
            for c in chunks[:-1]
        }
        for source, target in self.chunk_skips(bounds):
            made = blocks[self.skips[0][0]]
            sizes[source, target] = sizes.get((source, target), 0) + 4.0 * self.costs.skip_numbers(
                made
            )
        return StageCosts(
            forward=tuple(forward),
            backward=tuple(backward * f for f in forward),
            backward_input=tuple(halves[0] * f for f in forward),
            backward_weight=tuple(halves[1] * f for f in forward),
            message_bytes=sizes,
            bandwidth=LINK,
        )

    def chunk_skips(self, bounds: Sequence[int]) -> list[tuple[int, int]]:
        """Return skips as (source chunk, target chunk)."""

        def chunk(block: int) -> int:
            return max(c for c, start in enumerate(bounds[:-1]) if start <= block)

        return [(chunk(source), chunk(target)) for source, target in self.skips]

    def plain(self, stages: int, micro_batches: int, *, blocking: bool) -> Simulation:
        """Return 1F1B over p chunks, skips shipped."""
        bounds = [16 * c // stages for c in range(stages + 1)]
        costs = self.stage_costs(bounds, backward=3)
        skips = [(a, b) for a, b in self.chunk_skips(bounds) if a != b]
        schedule = one_forward_one_backward(
            stages=stages, micro_batches=micro_batches, skips=skips, costs=costs, blocking=blocking
        )
        return simulate(schedule, costs, blocking=blocking)

    def folded(self, stages: int, micro_batches: int, *, blocking: bool) -> Simulation:
        """Return folded 1F1B, no skip shipped."""
        bounds = fold_blocks(self.seconds, stages=stages, skips=self.skips)
        costs = self.stage_costs(bounds, backward=3)
        schedule = folded_one_forward_one_backward(
            stages=stages, micro_batches=micro_batches, costs=costs, blocking=blocking
        )
        return simulate(schedule, costs, blocking=blocking)

    def split(self, stages: int, micro_batches: int, *, kept: bool) -> Simulation:
        """Return halved backward passes, with activations kept or computed again in each half."""
        bounds = fold_blocks(self.seconds, stages=stages, skips=self.skips)
        costs = self.stage_costs(bounds, backward=3, halves=(1, 1) if kept else (2, 3))
        schedule = folded_split_backward(
            stages=stages, micro_batches=micro_batches, costs=costs, blocking=False
        )
        return simulate(schedule, costs)


def print_table(denoiser: Denoiser) -> None:
    """Print the comparison as Markdown."""
    print(
        "| p | m | plain bubble | folded bubble | plain ms | folded ms | plain ms, blocking "
        "| folded ms, blocking | folded, halves recomputed, ms | inputs kept, plain, folded |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for p in STAGES:
        for m in MICRO_BATCHES:
            plain, folded = (
                make(p, m, blocking=False) for make in (denoiser.plain, denoiser.folded)
            )
            waits = [
                make(p, m, blocking=True).makespan for make in (denoiser.plain, denoiser.folded)
            ]
            halves = denoiser.split(p, m, kept=False)
            print(
                f"| {p} | {m} | {plain.bubble:.1%} | {folded.bubble:.1%} "
                f"| {1e3 * plain.makespan:.1f} | {1e3 * folded.makespan:.1f} "
                f"| {1e3 * waits[0]:.1f} | {1e3 * waits[1]:.1f} | {1e3 * halves.makespan:.1f} "
                f"| {max(plain.peak_live)}, {max(folded.peak_live)} |"
            )


def draw_timeline(axes: Axes, timeline: Sequence[Played], *, chunks: int, title: str) -> None:
    """Draw who computes what when: forward passes light, backward passes dark, by chunk."""
    colours = matplotlib.colormaps["viridis"]
    for played in timeline:
        action: Action = played.action
        if isinstance(action, Send | Receive):
            continue
        axes.barh(
            played.rank,
            1e3 * (played.end - played.start),
            left=1e3 * played.start,
            color=colours(action.chunk / max(1, chunks - 1)),
            alpha=0.45 if isinstance(action, Forward) else 1.0,
            edgecolor="white",
            linewidth=0.3,
        )
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_ylabel("rank")
    axes.set_yticks(range(max(played.rank for played in timeline) + 1))
    axes.invert_yaxis()


def main(
    *,
    folder: Path,
) -> None:
    denoiser = Denoiser()
    print_table(denoiser)
    plain, folded = (make(4, 8, blocking=False) for make in (denoiser.plain, denoiser.folded))
    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 4.5), sharex=True)
    title = "{}, 4 ranks, 8 micro-batches, simulated: bubble {:.0%}"
    draw_timeline(
        above,
        plain.timeline,
        chunks=4,
        title=title.format("plain 1F1B, skips shipped", plain.bubble),
    )
    draw_timeline(
        below, folded.timeline, chunks=8, title=title.format("folded 1F1B", folded.bubble)
    )
    below.set_xlabel("ms (colour: chunk; light: forward, full: backward)")
    figure.tight_layout()
    figure.savefig(folder / "pipeline.png")
