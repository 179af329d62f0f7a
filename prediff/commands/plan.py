"""The subcommand that tells what a job would do before it burns node hours."""

from typing import Annotated

import typer
from rich.console import Console

from prediff.commands.options import ConfigOption, SetOption

SEVIR_LR_WINDOWS = 44_118
"""20 393 events less the 4 053 of the test set, three windows each, nine tenths of them."""


def plan(
    config: ConfigOption = None,
    set_: SetOption = None,
    nodes: Annotated[int, typer.Option(min=1, help="hosts")] = 1,
    per_node: Annotated[int, typer.Option(min=1, help="devices of each")] = 8,
    device: Annotated[
        str, typer.Option(help="910B1 to 910B4, 910_93 (a die of a 910C), or cpu")
    ] = "910B2",
    scale: Annotated[
        int | None,
        typer.Option(min=1, help="instead: the training on 1, 2, 4 ... nodes to SCALE devices"),
    ] = None,
    windows: Annotated[
        int, typer.Option(min=1, help="with --scale: training windows of an epoch; SEVIR-LR's")
    ] = SEVIR_LR_WINDOWS,
) -> None:
    """Lay a training job out on a cluster: mesh, memory, messages, predicted step time.

    Example: prediff plan --config configs/sevirlr.yaml --nodes 8 --per-node 8

    Example: prediff plan --config configs/sevirlr.yaml --scale 8192
    """
    from prediff.check import check_settings
    from prediff.config import load_config
    from prediff.planning.plan import plan as lay_out
    from prediff.planning.scale import scale_study, windows_seen
    from prediff.planning.tables import render, render_scale

    resolved = load_config(config, set_ or ())
    check_settings(resolved, on_npu=device != "cpu")
    if scale is not None:
        samples = windows_seen(resolved.train_diffusion, windows=windows)
        points = scale_study(
            config=resolved, samples=samples, per_node=per_node, largest=scale, device=device
        )
        Console().print(render_scale(points, device=device, samples=samples))
        return
    found = lay_out(config=resolved, nodes=nodes, per_node=per_node, device=device)
    Console().print(render(found))
