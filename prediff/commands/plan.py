"""The subcommand that tells what a job would do before it burns node hours."""

from typing import Annotated

import typer
from rich.console import Console

from prediff.commands.options import ConfigOption, SetOption


def plan(
    config: ConfigOption = None,
    set_: SetOption = None,
    nodes: Annotated[int, typer.Option(min=1, help="hosts")] = 1,
    per_node: Annotated[int, typer.Option(min=1, help="devices of each")] = 8,
    device: Annotated[str, typer.Option(help="910B1 to 910B4, or cpu")] = "910B2",
) -> None:
    """Lay a training job out on a cluster: mesh, memory, messages, predicted step time.

    Example: prediff plan --config configs/sevirlr.yaml --nodes 8 --per-node 8
    """
    from prediff.config import load_config
    from prediff.planning.plan import plan as lay_out
    from prediff.planning.tables import render

    found = lay_out(
        config=load_config(config, set_ or ()), nodes=nodes, per_node=per_node, device=device
    )
    Console().print(render(found))
