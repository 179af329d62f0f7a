"""Subcommands that score forecasts, and compare the scores of two runs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prediff.commands.options import ConfigOption, DataOption, NameOption, SetOption
from prediff.commands.run import open_command, show_results, work
from prediff.config import setting
from prediff.replaceable import refuse_foreign


def evaluate(
    config: ConfigOption = None,
    data: DataOption = None,
    name: NameOption = "tiny",
    set_: SetOption = None,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", help="native, prediff2023, cascast384 or diffcast128"),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            help="persistence, climatology, extrapolation or steps, may be repeated; steps "
            "needs pysteps",
        ),
    ] = None,
) -> None:
    """Score the forecasts against baselines; tables, plots and a report.

    Example: prediff evaluate --name first --protocol native --baseline persistence
    --baseline climatology
    """
    texts = list(set_ or ())
    if protocol is not None:
        texts.append(setting("evaluate.protocol", protocol))
    if baseline:
        texts.append(setting("evaluate.baselines", baseline))
    folder, resolved = open_command(config, data, name, texts, does={"evaluation"})
    work(folder, resolved, names={"evaluation"}, max_time=None)
    show_results(folder)


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="a run's folder or name")],
    second: Annotated[str, typer.Argument(metavar="OTHER_RUN", help="what it is compared with")],
    system: Annotated[
        list[str] | None,
        typer.Option("--system", help="of each run, given twice [default: the runs' models]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="also write every difference as JSON")
    ] = None,
) -> None:
    """Test whether two evaluated runs differ, case by case, on the same cases and protocol.

    Example: prediff compare first second --out difference.json
    """
    from prediff.evaluation.compare_runs import compare_runs

    if out is not None:
        refuse_foreign(out, is_ours=lambda path: b'"first_minus_second"' in path.read_bytes())
    comparison = compare_runs(first, second, systems=system or ())
    if out is not None:
        comparison.write(out)
    Console().print(comparison.table())
