"""Stage: ensemble forecasts of the test windows, one netCDF file a case.

Letters: M ensemble member, T lead time, H, W pixels; h, w, c of a latent frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from hpc.checkpoint.format import read_state
from hpc.cluster.runtime import Runtime
from hpc.cluster.stop import StopRequest
from prediff.config import Config
from prediff.data.dataset import RadarWindows
from prediff.data.open_data import is_synthetic, open_split, run_quantity
from prediff.forecasting.file import ForecastWindow, is_forecast_of, write_forecast
from prediff.forecasting.guidance import guidance_provenance
from prediff.forecasting.noise_key import noise_key
from prediff.forecasting.one_pass import forecaster_of_run
from prediff.graph_cache import graph_cache
from prediff.run_folder import DIFFUSION, RunFolder
from prediff.trained_networks import (
    autoencoder_sha256,
    config_sha256,
    newest_checkpoint,
    weights_group,
    weights_sha256,
)
from prediff.training.stopping import raise_if_asked

REQUESTED_INTENSITY = "guidance_requested_intensity"
"""Attribute of a guided forecast's file: the mean intensity in [0, 1] that it was steered to."""


@dataclass(frozen=True)
class TestCase:
    """A test window to forecast: its number keys its noise, its case names it."""

    number: int
    window: int
    case: ForecastWindow

    def path(self, folder: RunFolder) -> Path:
        return folder.forecast / f"{self.case.label}.nc"


def chosen_cases(config: Config, windows: RadarWindows) -> list[TestCase]:
    """Return the test windows that are forecast, spread evenly over the test set."""
    wanted = len(windows) if config.forecast.cases == "all" else config.forecast.cases
    chosen = np.unique(np.linspace(0, len(windows) - 1, min(wanted, len(windows))).astype(int))
    described = ((int(window), describe(config, windows, int(window))) for window in chosen)
    return [
        TestCase(number=noise_key(np.datetime64(case.init_time, "ns")), window=window, case=case)
        for window, case in described
    ]


def describe(config: Config, windows: RadarWindows, window: int) -> ForecastWindow:
    """Return names and times of a window, from the catalog."""
    position, start = (int(value) for value in windows.windows[window])
    event = windows.events[position]
    minutes = event.frame_minutes(windows.frame_shape.frames)
    last_context = start + config.data.context_frames - 1
    return ForecastWindow(
        event_id=event.id,
        first_frame=start,
        init_time=event.time + timedelta(minutes=minutes[last_context]),
        minutes=windows.cadence_minutes,
        pixel_metres=windows.pixel_metres(position),
        event=event,
    )


def provenance(folder: RunFolder, config: Config) -> dict[str, str | int | float]:
    """Return what a forecast depends on, as the attributes of its file.

    Content alone: a run that was copied, renamed or linked makes the same forecasts.
    """
    settings = config.forecast
    checkpoint = newest_checkpoint(folder, DIFFUSION)
    return {
        "seed": config.seed,
        "solver": "one_pass" if config.is_one_pass else settings.solver,
        "solver_steps": 1 if config.is_one_pass else settings.steps,
        "ensemble_members": settings.ensemble_members,
        "denoiser_weights": settings.weights,
        "denoiser_step": read_state(checkpoint)["step"],
        "denoiser_sha256": weights_sha256(checkpoint, weights_group(settings.weights)),
        "autoencoder_sha256": "none" if config.is_one_pass else autoencoder_sha256(folder),
        **guidance_provenance(folder, config),
    }


def forecast(
    folder: RunFolder,
    config: Config,
    runtime: Runtime,
    *,
    stop: StopRequest,
    say: Callable[[str], None],
) -> None:
    """Forecast the chosen test cases that have no forecast of this checkpoint and these settings.

    Ranks take cases in turn.

    Raises:
        UserError: no trained networks, or no test data.
        Stopped: asked to stop; the finished cases stay.
    """
    with open_split(folder, config, "test") as windows:
        cases = chosen_cases(config, windows)
        attributes = provenance(folder, config)
        are_there = runtime.broadcast_object(
            [is_forecast_of(case.path(folder), case.case, attributes) for case in cases]
        )
        undone = [case for case, is_there in zip(cases, are_there, strict=True) if not is_there]
        if not undone:
            return
        mine = undone[runtime.place.rank :: runtime.place.size]
        forecaster = forecaster_of_run(folder, config)
        say(f"{len(undone)} cases to forecast; compiling the networks")
        forecaster.compile(graph_cache(runtime).compile)
        for done, case in enumerate(mine, 1):
            seen = windows.read_windows([case.window], missing=np.nan)[0]
            missing_HW = np.isnan(seen[: config.data.context_frames]).any(axis=(0, 3))
            window = np.nan_to_num(seen, nan=0.0)
            intensity = forecaster.requested_intensity(window)
            ensemble = forecaster(
                window[: config.data.context_frames], case_number=case.number, intensity=intensity
            )
            ensemble[..., missing_HW] = np.nan
            said: dict[str, str | int | float] = {
                "run": folder.name,
                "config_sha256": config_sha256(config),
                "synthetic_data": int(is_synthetic(folder, config)),
            }
            if intensity is not None:
                said[REQUESTED_INTENSITY] = intensity
            write_forecast(
                case.path(folder),
                ensemble_MTHW=ensemble,
                case=case.case,
                provenance=attributes | said,
                quantity=run_quantity(config),
            )
            say(f"case {done}/{len(mine)} of this rank: {case.case.label}")
            if stop.reason() is not None:
                break
    raise_if_asked(stop, runtime)
