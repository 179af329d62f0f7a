"""A plan as tables for the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table

from prediff.planning.plan import ASSUMPTIONS, GIGA, Device, MeshPlan, Plan
from prediff.planning.scale import (
    COPY_RATE,
    DEVICE_HOURS_PER_FAILURE,
    RESTART_SECONDS,
    SCALE_ASSUMPTIONS,
    STEP_VARIATION,
    ScalePoint,
)


def render(found: Plan) -> Group:
    """Return a plan as tables for a rich console."""
    device = found.device
    return Group(
        f"{found.configured.mesh.size} ranks on {found.nodes} hosts, {device.name} "
        f"({device.peak / 1e12:.3g} TFLOP/s). A prediction; nothing here has run on an NPU yet.",
        _mesh_table(found),
        _rank_table(found.configured),
        *(f"- {line.format(**_figures(device))}" for line in ASSUMPTIONS),
    )


def _figures(device: Device) -> dict[str, float]:
    return {
        "linear": device.linear,
        "convolution": device.convolution,
        "float32_share": device.float32_share,
        "peak": device.peak / 1e12,
        **{
            name: getattr(device, name) / GIGA
            for name in ("memory", "memory_bandwidth", "near", "far")
        },
    }


def _mesh_table(found: Plan) -> Table:
    table = Table(title="meshes (data x pipeline)")
    for column in (
        "mesh",
        "micro-batches",
        "memory GB",
        "bubble",
        "step s",
        "samples/s",
        "MFU",
        "",
    ):
        table.add_column(column, justify="right", overflow="fold")
    for option in found.meshes:
        marks = [
            text
            for holds, text in (
                (option is found.best, "best"),
                (option is found.configured, "configured"),
                (not option.fits, "does not fit"),
            )
            if holds
        ]
        batch = option.mesh.data * option.micro_batches * option.samples
        table.add_row(
            f"{option.mesh.data} x {option.mesh.pipeline}",
            f"{option.micro_batches} of {option.samples}",
            f"{max(rank.memory for rank in option.ranks) / GIGA:.2f}",
            f"{option.bubble:.1%}",
            f"{option.step_seconds:.3g}",
            f"{batch / option.step_seconds:.3g}",
            f"{option.mfu:.1%}",
            ", ".join(marks),
        )
    return table


def _rank_table(option: MeshPlan) -> Table:
    table = Table(title="ranks of one pipeline of the configured mesh")
    for column in ("stage", "blocks", "parameters M", "memory GB", "messages", "MB sent"):
        table.add_column(column, justify="right", overflow="fold")
    for stage, rank in enumerate(option.ranks):
        table.add_row(
            str(stage),
            rank.blocks,
            f"{rank.parameters / 1e6:.3g}",
            f"{rank.memory / GIGA:.2f}",
            str(rank.messages),
            f"{rank.message_bytes / 1e6:.3g}",
        )
    return table


def render_scale(points: Sequence[ScalePoint], *, device: str, samples: int) -> Group:
    """Return a training on growing numbers of devices as a table for a rich console."""
    table = Table(
        title=f"{samples:,} windows on {device}, the fastest mesh of each size",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for column in (
        "devices",
        "mesh",
        "batch",
        "step s",
        "MFU",
        "stops/day",
        "save min",
        "goodput",
        "days",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for point in points:
        table.add_row(
            str(point.devices),
            f"{point.mesh.mesh.data}x{point.mesh.mesh.pipeline}",
            str(point.global_batch),
            f"{point.step_seconds:.3f}",
            f"{point.mfu:.1%}",
            f"{point.failures_per_day:.3f}",
            f"{point.checkpoint_minutes:.0f}",
            f"{point.goodput:.1%}",
            f"{point.days:.3f}",
        )
    figures = {
        "variation": STEP_VARIATION,
        "hours": DEVICE_HOURS_PER_FAILURE,
        "restart": RESTART_SECONDS,
        "copy": COPY_RATE / GIGA,
    }
    return Group(
        "A prediction; nothing here has run on silicon yet.",
        table,
        *(f"- {line.format(**figures)}" for line in SCALE_ASSUMPTIONS),
    )
