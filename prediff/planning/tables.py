"""A plan as tables for the terminal."""

from rich.console import Group
from rich.table import Table

from prediff.planning.plan import ASSUMPTIONS, GIGA, Device, MeshPlan, Plan


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
        table.add_column(column, justify="right")
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
        table.add_column(column, justify="right")
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
