"""Draw the README's picture: the packaged model's forecast of a made-up storm.

    python -m profiling forecast-picture --out docs/forecast.png

The storm is one that `prediff data synthesize` makes: synthetic data, which the picture says.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import xarray as xr

from hpc.randomness import keyed_generator
from prediff.data.quantity import VIL
from prediff.data.storms import DOMAIN_KM, FRAME_MINUTES, storm_event
from prediff.forecasting.file import centred_grid
from prediff.forecasting.forecaster import Forecaster
from prediff.forecasting.starter import STARTER
from prediff.pictures import Ground, case_panel
from prediff.pictures.figures import draw

START = np.datetime64("2020-06-01T12:00", "ns")


def picture(*, seed: int, side: int, members: int) -> bytes:
    """Return a PNG of context, what came, two members, their mean and the probability of rain."""
    forecaster = Forecaster(STARTER, members=members)
    past = forecaster.context_frames
    leads = forecaster.config.data.forecast_frames
    generator = keyed_generator(seed=seed, stream="synthetic_storms", sample=0)
    event = storm_event(generator, size=side, frames=past + leads).astype(np.float32)
    pixel = DOMAIN_KM * 1000 / side
    step = np.timedelta64(round(FRAME_MINUTES * 60), "s")
    frames = xr.DataArray(
        event[:past],
        dims=("time", "y", "x"),
        coords={
            "time": START + np.arange(past) * step,
            **centred_grid(height=side, width=side, pixel_metres=pixel),
        },
        name=VIL.code_name,
    )
    forecast = forecaster(frames)
    figure = case_panel(
        context=event[:past] / 255,
        observation=event[past:] / 255,
        forecasts={"forecast": forecast[VIL.code_name].values / 255},
        context_minutes=[FRAME_MINUTES * (1 + number - past) for number in range(past)],
        lead_minutes=forecast["lead_time"].values.tolist(),
        ground=Ground(kilometres_per_pixel=pixel / 1000),
        title=f"SYNTHETIC STORM: one hour, {members} members",
        members_shown=2,
    )
    return draw(figure).png


def main(
    *,
    out: Annotated[Path, typer.Option(help="PNG to write")],
    seed: int = 4,
    side: Annotated[int, typer.Option(help="pixels of a frame")] = 64,
    members: int = 16,
) -> None:
    out.write_bytes(picture(seed=seed, side=side, members=members))
