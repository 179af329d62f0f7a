"""Whether guidance does what it is asked: requested against obtained mean intensity.

Letters: M ensemble member, T frames, H, W pixels.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from prediff.config import Config
from prediff.data.open_data import open_split
from prediff.forecasting.ensemble import EnsembleForecaster
from prediff.forecasting.file import read_forecast
from prediff.forecasting.guidance import system_name
from prediff.forecasting.test_set import REQUESTED_INTENSITY, TestCase, chosen_cases
from prediff.pictures.figures import figure_to_png, new_figure
from prediff.run_folder import RunFolder

Row = dict[str, Any]
"""``case``, ``requested`` and ``obtained`` (a mean a member), intensities in [0, 1]."""


def forecast_intensities(folder: RunFolder, cases: Sequence[TestCase]) -> list[Row]:
    """Return requested and obtained mean intensity of the guided forecasts on the disk."""
    rows = []
    for case in cases:
        ensemble_MTHW, attributes = read_forecast(case.path(folder))
        requested = float(attributes[REQUESTED_INTENSITY])
        rows.append(_row(case, requested=requested, ensemble_MTHW=ensemble_MTHW))
    return rows


def measure_response(
    folder: RunFolder,
    config: Config,
    *,
    factors: Sequence[float],
    cases: int,
    say: Callable[[str], None],
) -> list[Path]:
    """Forecast test cases with several requests each; write the table and the plot of the answers.

    The request is a factor times what the configured source gives, times what persistence gives
    if the run is not guided. All use the same noise, so that they differ by the request alone.

    Raises:
        UserError: no trained networks, or no test data.
    """
    if not config.is_guided:
        config = _with_guidance(config, source="persistence")
    with open_split(folder, config, "test") as windows:
        chosen = chosen_cases(config, windows)[:cases]
        forecaster = EnsembleForecaster(folder, config)
        rows = []
        for case in chosen:
            window = windows.read_windows([case.window])[0]
            context = window[: config.data.context_frames]
            base = forecaster.requested_intensity(window)
            assert base is not None
            for factor in factors:
                requested = min(1.0, factor * base)
                ensemble = forecaster(context, case_number=case.number, intensity=requested)
                rows.append(_row(case, requested=requested, ensemble_MTHW=ensemble))
                say(f"{case.case.label}: asked {requested:.4f}, got {rows[-1]['mean']:.4f}")
    folder.evaluation.mkdir(parents=True, exist_ok=True)
    table = folder.evaluation / "guidance_response.json"
    picture = folder.evaluation / "guidance_response.png"
    table.write_text(json.dumps({"system": system_name(config), "forecasts": rows}, indent=1))
    picture.write_bytes(figure_to_png(intensity_figure(rows, title=system_name(config))))
    return [table, picture]


def intensity_figure(rows: Sequence[Row], *, title: str) -> Figure:
    """Draw obtained over requested mean intensity: members as dots, the means of a case joined."""
    figure = new_figure(width=5, height=4.5)
    axis = figure.subplots()
    for number, case in enumerate(dict.fromkeys(row["case"] for row in rows)):
        mine = sorted((r for r in rows if r["case"] == case), key=lambda row: row["requested"])
        colour = f"C{number % 10}"
        for row in mine:
            requested = [row["requested"]] * len(row["obtained"])
            axis.plot(requested, row["obtained"], ".", color=colour, alpha=0.35, markersize=4)
        means = [row["mean"] for row in mine]
        axis.plot([row["requested"] for row in mine], means, "o-", color=colour, markersize=4)
    top = 1.05 * max(max(row["requested"], *row["obtained"]) for row in rows)
    axis.plot([0, top], [0, top], color="0.5", linewidth=0.8, linestyle="--")
    axis.set(xlim=(0, top), ylim=(0, top), title=title)
    axis.set_xlabel("requested mean intensity (1 = VIL 255)")
    axis.set_ylabel("obtained")
    return figure


def _row(case: TestCase, *, requested: float, ensemble_MTHW: np.ndarray) -> Row:
    obtained = np.clip(ensemble_MTHW, 0, 1).mean(axis=(1, 2, 3), dtype=np.float64)
    return {
        "case": case.case.label,
        "requested": requested,
        "obtained": obtained.tolist(),
        "mean": float(obtained.mean()),
    }


def _with_guidance(config: Config, *, source: str) -> Config:
    guidance = config.forecast.guidance.model_copy(update={"source": source})
    forecast = config.forecast.model_copy(update={"guidance": guidance})
    return config.model_copy(update={"forecast": forecast})
