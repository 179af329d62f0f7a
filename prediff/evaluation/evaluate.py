"""Stage: scores, plots and pictures of a run's forecasts, against baselines."""

import json
from typing import Any

import numpy as np

from hpc.cluster.runtime import Runtime
from hpc.durable_files import write_durably
from hpc.errors import UserError
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from prediff.config import Config
from prediff.data.dataset import RadarWindows
from prediff.data.open_data import open_split
from prediff.evaluation.baselines import Baselines
from prediff.evaluation.compare_runs import SCOREBOARD
from prediff.evaluation.report import CasePictures, write_report
from prediff.evaluation.score_plots import score_figures
from prediff.forecasting.file import is_forecast_of, read_forecast
from prediff.forecasting.guidance import system_name
from prediff.forecasting.guidance_response import forecast_intensities, intensity_figure
from prediff.forecasting.test_set import TestCase, chosen_cases, provenance
from prediff.pictures.animation import case_animation
from prediff.pictures.figures import draw
from prediff.pictures.ground import Ground
from prediff.pictures.panels import case_panel
from prediff.run_folder import RunFolder
from prediff.verification.headline import headlines, write_scores
from prediff.verification.protocols import protocol_named
from prediff.verification.scoreboard import Scoreboard

PICTURED_CASES = 4
MADE_FROM = "made_from.json"


def evaluate(folder: RunFolder, config: Config, runtime: Runtime) -> None:
    """Score the run's forecasts and draw them; ranks share the cases, rank 0 writes.

    Raises:
        UserError: no forecasts or older ones, no test data, or data that the protocol cannot use.
    """
    protocol = protocol_named(config.evaluate.protocol)
    with open_split(folder, config, "test") as windows:
        cases = chosen_cases(config, windows)
        minutes = cases[0].case.minutes
        protocol.check_data(
            context_frames=config.data.context_frames,
            forecast_frames=config.data.forecast_frames,
            height=config.data.frame_size,
            width=config.data.frame_size,
            cadence_minutes=minutes,
            first_time=min(case.case.init_time for case in cases).isoformat(),
        )
        _refuse_other_forecasts(folder, config, cases)
        leads = [minutes * (1 + lead) for lead in range(config.data.forecast_frames)]
        board = Scoreboard(lead_minutes=leads, protocol=protocol)
        baselines = Baselines(folder, config)
        for case in cases[runtime.place.rank :: runtime.place.size]:
            _score(board, folder, config, windows, case, baselines)
        states = runtime.all_gather_object(board.state() if board.cases else None)
        if not runtime.is_first:
            return
        merged = Scoreboard(lead_minutes=leads, protocol=protocol)
        for state in filter(None, states):
            merged.merge(Scoreboard.from_state(state, protocol=protocol))
        tables = merged.tables(seed=config.seed)
        folder.evaluation.mkdir(parents=True, exist_ok=True)
        merged.save(folder.evaluation / SCOREBOARD)
        write_scores(tables, folder.evaluation)
        _draw(folder, config, windows, cases[:PICTURED_CASES], tables, leads, baselines)
        write_durably(folder.evaluation / MADE_FROM, json.dumps(_made_from(folder, config)))


def _refuse_other_forecasts(folder: RunFolder, config: Config, cases: list[TestCase]) -> None:
    made_by = provenance(folder, config)
    for case in cases:
        path = case.path(folder)
        if not is_forecast_of(path, case.case, made_by):
            what = "is of other weights or settings" if path.exists() else "is missing"
            raise UserError(
                f"forecast {path} {what}: run `prediff forecast --name {folder.name}` first"
            )


def is_evaluated(folder: RunFolder, config: Config) -> bool:
    """Return whether the scores of these forecasts and settings are there."""
    try:
        found = json.loads((folder.evaluation / MADE_FROM).read_text())
    except (OSError, ValueError):
        return False
    return found == _made_from(folder, config)


def _made_from(folder: RunFolder, config: Config) -> dict[str, Any]:
    return {
        **provenance(folder, config),
        "cases": config.forecast.cases,
        "protocol": config.evaluate.protocol,
        "baselines": list(config.evaluate.baselines),
    }


def _frames_of(
    config: Config, windows: RadarWindows, case: TestCase
) -> tuple[np.ndarray, np.ndarray]:
    """Return context and observation ``[T, H, W]`` of a case."""
    frames = windows.read_windows([case.window])[0, ..., 0]
    return frames[: config.data.context_frames], frames[config.data.context_frames :]


def _forecasts(
    folder: RunFolder, config: Config, case: TestCase, context: np.ndarray, baselines: Baselines
) -> dict[str, np.ndarray]:
    """Return the ensembles ``[M, T, H, W]`` that are compared, by system."""
    ensemble, _ = read_forecast(case.path(folder))
    return {system_name(config): ensemble, **baselines(context, case)}


def _score(
    board: Scoreboard,
    folder: RunFolder,
    config: Config,
    windows: RadarWindows,
    case: TestCase,
    baselines: Baselines,
) -> None:
    context, observation = _frames_of(config, windows, case)
    forecasts = _forecasts(folder, config, case, context, baselines)
    board.update(
        forecasts={name: ensemble[None] for name, ensemble in forecasts.items()},
        observation=observation[None],
        event_ids=[case.case.event_id],
        case_ids=[case.case.label],
    )


def _draw(
    folder: RunFolder,
    config: Config,
    windows: RadarWindows,
    cases: list[TestCase],
    tables: dict[str, Any],
    leads: list[int],
    baselines: Baselines,
) -> None:
    kilometres = cases[0].case.pixel_metres / 1000
    pictured = []
    with TensorBoardWriter(folder.evaluation) as board:
        for case in cases:
            context, observation = _frames_of(config, windows, case)
            scene: dict[str, Any] = {
                "context": context,
                "observation": observation,
                "forecasts": _forecasts(folder, config, case, context, baselines),
                "context_minutes": [
                    case.case.minutes * (1 + frame - len(context)) for frame in range(len(context))
                ],
                "lead_minutes": leads,
                "ground": Ground(kilometres_per_pixel=case.case.pixel_metres / 1000),
            }
            title = f"{case.case.event_id}, forecast of {case.case.init_time:%Y-%m-%d %H:%M} UTC"
            panel = draw(case_panel(**scene, title=title))
            animation = case_animation(**scene)
            (folder.evaluation / f"{case.case.label}.png").write_bytes(panel.png)
            (folder.evaluation / f"{case.case.label}.gif").write_bytes(animation)
            board.picture(f"forecast/{case.case.label}", panel.rgb, step=0)
            pictured.append(CasePictures(title=title, panel=panel.png, animation=animation))
        figures = score_figures(tables, kilometres_per_pixel=kilometres)
        if config.is_guided:
            rows = forecast_intensities(folder, chosen_cases(config, windows))
            figures["guidance"] = intensity_figure(rows, title=system_name(config))
        drawings = {name: draw(figure) for name, figure in figures.items()}
        for name, drawing in drawings.items():
            (folder.evaluation / f"{name}.png").write_bytes(drawing.png)
            board.picture(f"scores/{name}", drawing.rgb, step=0)
        _score_curves(board, tables, leads)
    write_report(
        folder.evaluation / "report.html",
        tables=tables,
        title=f"Run {folder.name}",
        cases=pictured,
        details={key: str(value) for key, value in provenance(folder, config).items()},
        drawings=drawings,
        kilometres_per_pixel=kilometres,
    )


def _score_curves(board: TensorBoardWriter, tables: dict[str, Any], leads: list[int]) -> None:
    """CRPS by lead time as curves, one a system; the step is the lead time in minutes."""
    crps = headlines(tables)[0]
    for system in tables["systems"]:
        values = crps.entry(tables, system)["by_lead_time"]
        for lead, value in zip(leads, values, strict=True):
            board.scalars({f"crps_by_lead_minute/{system}": value}, step=lead)
