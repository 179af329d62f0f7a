"""Stage: scores, plots and pictures of a run's forecasts, against baselines."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpc.cluster.runtime import Runtime
from hpc.durable_files import write_durably
from hpc.errors import UserError
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from prediff.config import Config
from prediff.data.dataset import RadarWindows
from prediff.data.open_data import is_synthetic, open_split, run_quantity
from prediff.evaluation.baselines import Baselines
from prediff.evaluation.compare_runs import SCOREBOARD
from prediff.evaluation.origin import origin
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
KINDS = ("png", "gif")
MADE_FROM = "made_from.json"


def _silent(text: str) -> None:
    """Say nothing."""


def evaluate(
    folder: RunFolder,
    config: Config,
    runtime: Runtime,
    *,
    say: Callable[[str], None] = _silent,
) -> None:
    """Score the run's forecasts and draw them; ranks share the cases, rank 0 writes.

    A case that cannot be scored, for whatever reason, is named, counted and left out for all
    systems alike.

    Args:
        say: prints what is going on.

    Raises:
        UserError: no forecasts or older ones, no test data, data that the protocol cannot use, or
            no case that can be scored.
    """
    protocol = protocol_named(config.evaluate.protocol, quantity=run_quantity(config))
    with open_split(folder, config, "test") as windows:
        cases, left_out = _checked_cases(folder, config, windows)
        minutes = cases[0].case.minutes
        leads = [minutes * (1 + lead) for lead in range(config.data.forecast_frames)]
        board = Scoreboard(lead_minutes=leads, protocol=protocol)
        baselines = Baselines(folder, config)
        scored = [case for case in cases if case.case.label not in left_out]
        mine = scored[runtime.place.rank :: runtime.place.size]
        failed: dict[str, str] = {}
        for done, case in enumerate(mine, 1):
            say(f"scoring case {done}/{len(mine)} of this rank: {case.case.label}")
            try:
                _score(board, folder, config, windows, case, baselines)
            except Exception as error:  # one case must not end the evaluation of all others
                failed[case.case.label] = _reason(error)
        states = runtime.all_gather_object(board.state() if board.cases else None)
        for others in runtime.all_gather_object(failed):
            left_out |= others
        for label, reason in left_out.items():
            say(f"left out {label}: {reason}")
        if len(left_out) == len(cases):
            raise UserError(f"none of {len(cases)} cases can be scored: {reason}")
        if not runtime.is_first:
            return
        merged = Scoreboard(lead_minutes=leads, protocol=protocol)
        for state in filter(None, states):
            merged.merge(Scoreboard.from_state(state, protocol=protocol))
        say(f"comparing {merged.cases} cases of {merged.events} events")
        tables = merged.tables(seed=config.seed)
        tables["left_out"] = [
            {"case": label, "reason": reason} for label, reason in left_out.items()
        ]
        tables["synthetic_data"] = is_synthetic(folder, config)
        folder.evaluation.mkdir(parents=True, exist_ok=True)
        merged.save(folder.evaluation / SCOREBOARD)
        write_scores(tables, folder.evaluation)
        kept = [case for case in cases if case.case.label not in left_out]
        say("drawing plots and cases")
        _draw(folder, config, windows, cases, kept[:PICTURED_CASES], tables, leads, baselines)
        write_durably(folder.evaluation / MADE_FROM, json.dumps(_made_from(folder, config)))


def check_protocol(config: Config) -> None:
    """Refuse a protocol or baselines that these settings cannot serve, whatever the data.

    Raises:
        UserError: unknown, or frames of another number or size are needed.
    """
    protocol = protocol_named(config.evaluate.protocol, quantity=run_quantity(config))
    protocol.check_data(
        context_frames=config.data.context_frames,
        forecast_frames=config.data.forecast_frames,
        height=config.data.frame_size,
        width=config.data.frame_size,
        cadence_minutes=protocol.cadence_minutes or 0,
    )
    if "steps" in config.evaluate.baselines and config.data.context_frames < 3:
        raise UserError(
            f"baseline steps needs at least 3 context frames, data.context_frames is "
            f"{config.data.context_frames}"
        )


def check_evaluation(folder: RunFolder, config: Config) -> None:
    """Refuse an evaluation whose forecasts or data are not there.

    Raises:
        UserError: as `evaluate`.
    """
    with open_split(folder, config, "test") as windows:
        _checked_cases(folder, config, windows)


def _checked_cases(
    folder: RunFolder, config: Config, windows: RadarWindows
) -> tuple[list[TestCase], dict[str, str]]:
    """Return the cases, and those whose forecasts are damaged with the reason."""
    cases = chosen_cases(config, windows)
    protocol_named(config.evaluate.protocol, quantity=run_quantity(config)).check_data(
        context_frames=config.data.context_frames,
        forecast_frames=config.data.forecast_frames,
        height=config.data.frame_size,
        width=config.data.frame_size,
        cadence_minutes=cases[0].case.minutes,
        first_time=min(case.case.init_time for case in cases).isoformat(),
    )
    return cases, _refuse_other_forecasts(folder, config, cases)


def _reason(error: BaseException) -> str:
    """Return an error as one line."""
    text = " ".join(str(error).split()) or "no details"
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _refuse_other_forecasts(
    folder: RunFolder, config: Config, cases: list[TestCase]
) -> dict[str, str]:
    """Return the cases whose files are damaged, with the reason.

    Raises:
        UserError: a forecast is missing, or of other weights or settings.
    """
    made_by = provenance(folder, config)
    damaged = {}
    for case in cases:
        path = case.path(folder)
        if is_forecast_of(path, case.case, made_by):
            continue
        what = "is missing"
        if path.exists():
            what = "is of other weights or settings"
            try:
                read_forecast(path)
            except UserError as error:
                damaged[case.case.label] = str(error)
                continue
        raise UserError(
            f"forecast {path} {what}: run `prediff forecast --name {folder.name}` first"
        )
    return damaged


def is_evaluated(folder: RunFolder, config: Config) -> bool:
    """Return whether the scores of these forecasts and settings are there, of every case."""
    try:
        found = json.loads((folder.evaluation / MADE_FROM).read_text())
        scores = json.loads((folder.evaluation / "scores.json").read_text())
    except (OSError, ValueError):
        return False
    return found == _made_from(folder, config) and not scores.get("left_out")


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
    frames = windows.read_windows([case.window], missing=np.nan)[0, ..., 0]
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
    shown: list[TestCase],
    tables: dict[str, Any],
    leads: list[float],
    baselines: Baselines,
) -> None:
    kilometres = cases[0].case.pixel_metres / 1000
    files = {"scores.json": "scores.json", "scores.csv": "scores.csv", SCOREBOARD: SCOREBOARD}
    pictured = []
    with TensorBoardWriter(folder.evaluation) as board:
        for case in shown:
            context, observation = _frames_of(config, windows, case)
            scene: dict[str, Any] = {
                "quantity": run_quantity(config),
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
            files |= {f"{case.case.label}.{kind}": f"{case.case.label}.{kind}" for kind in KINDS}
            board.picture(f"pictures/{case.case.label}", panel.rgb, step=0)
            pictured.append(CasePictures(title=title, panel=panel.png, animation=animation))
        figures = score_figures(tables, kilometres_per_pixel=kilometres)
        if config.is_guided:
            rows = forecast_intensities(folder, chosen_cases(config, windows))
            figures["guidance"] = intensity_figure(rows, title=system_name(config))
        drawings = {name: draw(figure) for name, figure in figures.items()}
        for name, drawing in drawings.items():
            (folder.evaluation / f"{name}.png").write_bytes(drawing.png)
            board.picture(f"pictures/{name}", drawing.rgb, step=0)
            files[f"{name}.png"] = f"{name}.png"
    _score_curves(folder.evaluation, tables, leads)
    write_report(
        folder.evaluation / "report.html",
        tables=tables,
        title=f"Run {folder.name}",
        cases=pictured,
        details=origin(folder, config, cases),
        drawings=drawings,
        files=files,
        synthetic=tables["synthetic_data"],
        kilometres_per_pixel=kilometres,
    )


def _score_curves(folder: Path, tables: dict[str, Any], leads: list[float]) -> None:
    """Headline scores by lead time: one tag a score, one run a system, the step in minutes."""
    for system in tables["systems"]:
        shutil.rmtree(folder / "by_lead_time" / system, ignore_errors=True)
        with TensorBoardWriter(folder / "by_lead_time" / system) as board:
            for headline in headlines(tables):
                values = headline.entry(tables, system)["by_lead_time"]
                for lead, value in zip(leads, values, strict=True):
                    if value is not None:
                        board.scalars(
                            {f"scores_by_lead_minute/{headline.tag}": value}, step=round(lead)
                        )
