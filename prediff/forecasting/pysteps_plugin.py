"""PreDiff inside pysteps: the nowcast method ``prediff`` and an importer of our forecast files.

pysteps finds this module through its entry-point group for importers when it is imported itself.
It has no such group for nowcast methods yet (1.21; proposed as ``pysteps.plugins.nowcasts``, which
we name too), so the importer's module enters the method into pysteps's table. The networks are
loaded at the first nowcast, not before.

    import pysteps
    nowcast = pysteps.nowcasts.get_method("prediff")
    ensemble = nowcast(vil_frames, None, 6, run="runs/first", n_ens_members=16)
"""

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc.errors import UserError

if TYPE_CHECKING:
    import xarray as xr

    from prediff.forecasting.forecaster import Forecaster

METHOD = "prediff"
KEPT_FORECASTERS = 2


def forecast(
    precip: np.ndarray,
    velocity: np.ndarray | None,
    timesteps: int,
    *,
    run: str | Path,
    n_ens_members: int | None = None,
    solver: str | None = None,
    steps: int | None = None,
    time: datetime | None = None,
) -> np.ndarray:
    """Return an ensemble nowcast ``[member, time, m, n]``, VIL on 0-255, NaN where missing.

    Args:
        precip: the run's context ``[time, m, n]``, newest last: VIL on 0-255, at the cadence that
            the run was trained on; NaN is missing.
        velocity: not used: the model moves rain by itself. None is fine.
        timesteps: number of frames, at most the run's.
        run: a run's folder, or its name below ``runs/``; it is loaded once and kept.
        n_ens_members, solver, steps: as ``prediff forecast`` takes them.
        time: UTC time of the newest frame; it keys the members' noise.

    Raises:
        UserError: a ValueError whose one line says what does not fit.
    """
    if not isinstance(timesteps, int | np.integer) or timesteps < 1:
        raise UserError(
            f"timesteps is {timesteps!r}: the method 'prediff' takes a number of frames"
        )
    forecaster = _forecaster(str(run), n_ens_members, solver, steps)
    most = forecaster.config.data.forecast_frames
    if timesteps > most:
        raise UserError(f"timesteps is {timesteps}, run {run} forecasts {most} frames")
    dataset = forecaster(np.ma.filled(np.ma.asarray(precip, float), np.nan), at=time)
    return dataset["vil_code"].values[:, :timesteps]


@lru_cache(maxsize=KEPT_FORECASTERS)
def _forecaster(
    run: str, members: int | None, solver: str | None, steps: int | None
) -> "Forecaster":
    from prediff.forecasting.forecaster import Forecaster

    return Forecaster(run, members=members, solver=solver, steps=steps)


def import_prediff_forecast(
    filename: str | Path, *, variable: str = "vil_code", **options: Any
) -> tuple[np.ndarray, None, dict[str, Any]]:
    """Read a forecast that `prediff forecast` wrote, for ``pysteps.io.get_method``.

    Args:
        filename: .nc or .zarr.
        variable: ``vil_code`` (0-255) or ``vil`` (kg m-2).
        options: ``dtype`` and ``fillna``, which pysteps itself applies.

    Returns:
        The ensemble ``[member, time, m, n]``, no quality field, and pysteps's metadata.

    Raises:
        UserError: the file is missing, damaged, or not one of ours.
    """
    import xarray as xr

    try:
        with xr.open_dataset(filename, decode_timedelta=False, decode_coords="all") as dataset:
            field = dataset[variable].load()
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{filename} is no forecast that can be read: {error}") from None
    x, y = field["x"].values, field["y"].values
    width, height = abs(x[1] - x[0]), abs(y[1] - y[0])
    leads = field["lead_time"].values
    metadata = {
        "projection": _projection(field),
        "cartesian_unit": field["x"].attrs.get("units", "m"),
        "x1": x.min() - width / 2,
        "x2": x.max() + width / 2,
        "y1": y.min() - height / 2,
        "y2": y.max() + height / 2,
        "xpixelsize": width,
        "ypixelsize": height,
        "yorigin": "lower" if y[1] > y[0] else "upper",
        "institution": "PreDiff",
        "accutime": float(leads[0]),
        "unit": field.attrs["units"],
        "transform": None,
        "zerovalue": 0.0,
        "threshold": 0.0,
        "leadtimes": leads,
        "timestamps": field["time"].values.astype("datetime64[s]").astype(datetime)
        if "time" in field.coords
        else None,
    }
    return field.values, None, metadata


def _projection(field: "xr.DataArray") -> str | None:
    """Return the PROJ string of the grid mapping, where it has one."""
    name = field.encoding.get("grid_mapping")
    if name not in field.coords:
        return None
    return field.coords[name].attrs.get("proj4")


def register() -> None:
    """Enter the method into the table that ``pysteps.nowcasts.get_method`` reads."""
    try:
        from pysteps.nowcasts import interface
    except ImportError:
        return
    interface._nowcast_methods.setdefault(METHOD, forecast)


register()
