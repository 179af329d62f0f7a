"""The model card: what a stranger must know before taking a model's forecasts for real."""

import json
from collections.abc import Iterator
from typing import Any

from prediff.config import Config
from prediff.data.licence import licence_of
from prediff.data.open_data import data_root, is_synthetic
from prediff.run_folder import RunFolder
from prediff.verification.headline import headlines, number

CARD = "README.md"
_SCORES = 8


def model_facts(folder: RunFolder, config: Config, *, state: dict[str, Any]) -> dict[str, Any]:
    """Return what the seal says of a model.

    Args:
        state: of the checkpoint that is exported.
    """
    synthetic = is_synthetic(folder, config)
    root = data_root(folder, config)
    return {
        "run": folder.name,
        "quantity": config.data.quantity,
        "frame_size": config.data.frame_size,
        "context_frames": config.data.context_frames,
        "forecast_frames": config.data.forecast_frames,
        "cadence_minutes": state.get("cadence_minutes"),
        "weights": config.forecast.weights,
        "step": state["step"],
        "versions": state.get("versions", {}),
        "synthetic_data": synthetic,
        "data": "synthetic storms" if synthetic else root.name,
        "data_licence": "none: made up by a program" if synthetic else licence_of(root),
    }


def model_card(folder: RunFolder, facts: dict[str, Any]) -> str:
    """Return the card as Markdown."""
    return "\n".join(_lines(folder, facts)) + "\n"


def _lines(folder: RunFolder, facts: dict[str, Any]) -> Iterator[str]:
    yield f"# PreDiff rain nowcasting, run {facts['run']}"
    yield ""
    if facts["synthetic_data"]:
        yield "**SYNTHETIC DATA: trained on storms that a program made up. Not for real rain.**"
        yield ""
    cadence = facts["cadence_minutes"]
    minutes = "an unknown number of" if cadence is None else f"{cadence:g}"
    yield (
        f"Takes {facts['context_frames']} radar frames of {facts['quantity']}, "
        f"{facts['frame_size']}x{facts['frame_size']} pixels, {minutes} minutes apart; forecasts "
        f"the next {facts['forecast_frames']} as an ensemble."
    )
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| data | {facts['data']} |"
    yield f"| licence of the data | {facts['data_licence']} |"
    yield f"| weights | {facts['weights']}, after {facts['step']} steps |"
    for name, version in facts["versions"].items():
        yield f"| {name} | {version} |"
    yield ""
    yield "## Scores"
    yield ""
    yield from _scores(folder)
    yield ""
    yield "## Limits"
    yield ""
    yield "- Frames of another radar, cadence, pixel size or quantity are out of its experience."
    yield "- Scores are of the test set above; rare heavy rain has wide intervals."
    yield "- No forecast of it is a warning: a forecaster decides."
    yield ""
    yield "## Use"
    yield ""
    yield "    prediff forecast --checkpoint THIS_FOLDER --input radar.nc --out forecast.nc"
    yield "    prediff import THIS_FOLDER --name mine"


def _scores(folder: RunFolder) -> Iterator[str]:
    try:
        tables = json.loads((folder.evaluation / "scores.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        yield "None: the run was not evaluated."
        return
    yield (
        f"{tables['cases']} cases of {tables['events']} events, protocol "
        f"{tables['protocol']['name']}; brackets: {tables['interval_level']:.0%} by event."
    )
    yield ""
    systems = list(tables["systems"])
    yield f"| score | better | {' | '.join(systems)} |"
    yield f"|---|---|{'---|' * len(systems)}"
    for headline in headlines(tables)[:_SCORES]:
        cells = []
        for system in systems:
            entry = headline.entry(tables, system)
            low, high = entry["interval"]
            bounds = "" if low is None else f" [{number(low)}, {number(high)}]"
            cells.append(f"{number(entry['overall'])}{bounds}")
        yield f"| {headline.title} | {headline.better} | {' | '.join(cells)} |"
