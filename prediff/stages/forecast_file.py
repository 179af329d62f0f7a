"""Ensemble forecasts as CF-1.7 netCDF that xarray and pysteps open.

Letters: M ensemble member, T lead time, H, W pixels.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import xarray as xr

from hpc.errors import UserError
from prediff.data.vil import vil_to_water

CODE = "vil_code"
MASS = "vil"


@dataclass(frozen=True)
class Case:
    """What was forecast: an event, the window in it, and the clock.

    Attributes:
        event_id: the catalog's name of the event.
        first_frame: of the window's context in the event.
        init_time: UTC time of the last context frame.
        minutes: between frames.
        pixel_metres: side of a pixel.
    """

    event_id: str
    first_frame: int
    init_time: datetime
    minutes: int
    pixel_metres: float

    @property
    def label(self) -> str:
        return f"{self.event_id}_{self.first_frame:02d}"


def write_forecast(
    path: Path, *, ensemble_MTHW: np.ndarray, case: Case, provenance: dict[str, str | int | float]
) -> None:
    """Write an ensemble in [0, 1] as VIL code (0-255) and VIL (kg m-2); the file appears whole.

    Args:
        path: of the netCDF file.
        ensemble_MTHW: float32 ``[member, lead_time, height, width]``; NaN where pixels are missing.
        case: names and times.
        provenance: global attributes such as the checkpoint's SHA-256.
    """
    members, leads, height, width = ensemble_MTHW.shape
    code = np.clip(ensemble_MTHW, 0, 1) * np.float32(255)
    dimensions = ("realization", "lead_time", "y", "x")
    minutes = np.arange(1, leads + 1, dtype=np.int32) * case.minutes
    init = np.datetime64(case.init_time, "s").astype("datetime64[ns]")
    dataset = xr.Dataset(
        {
            CODE: (
                dimensions,
                code,
                {"long_name": "SEVIR code of vertically integrated liquid", "units": "1"},
            ),
            MASS: (
                dimensions,
                vil_to_water(code).astype(np.float32),
                {
                    "standard_name": "atmosphere_mass_content_of_liquid_water",
                    "long_name": "vertically integrated liquid",
                    "units": "kg m-2",
                },
            ),
        },
        coords={
            "realization": (
                "realization",
                np.arange(members, dtype=np.int32),
                {"standard_name": "realization", "units": "1"},
            ),
            "lead_time": (
                "lead_time",
                minutes,
                {"standard_name": "forecast_period", "units": "minutes"},
            ),
            "y": _axis("y", height, case.pixel_metres),
            "x": _axis("x", width, case.pixel_metres),
            "forecast_reference_time": (
                (),
                init,
                {"standard_name": "forecast_reference_time"},
            ),
            "time": (
                "lead_time",
                init + minutes.astype("timedelta64[m]").astype("timedelta64[ns]"),
                {"standard_name": "time"},
            ),
        },
        attrs={
            "Conventions": "CF-1.7",
            "title": "PreDiff ensemble forecast",
            "event_id": case.event_id,
            "first_frame": case.first_frame,
            **provenance,
        },
    )
    encoding = {name: {"zlib": True, "complevel": 1, "dtype": "float32"} for name in (CODE, MASS)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        dataset.to_netcdf(partial, engine="netcdf4", encoding=encoding)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_forecast(path: Path) -> tuple[np.ndarray, dict[str, str | int | float]]:
    """Return the ensemble ``[member, lead_time, height, width]`` in [0, 1] and the attributes.

    Raises:
        UserError: the file is missing, damaged, or not one of ours.
    """
    try:
        with xr.open_dataset(path, decode_timedelta=False) as dataset:
            return dataset[CODE].values / np.float32(255), dict(dataset.attrs)
    except FileNotFoundError:
        raise UserError(f"no forecast at {path}; `prediff forecast` makes it") from None
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is no forecast that can be read: {error}") from None


def is_forecast_of(path: Path, case: Case, provenance: dict[str, str | int | float]) -> bool:
    """Return whether a file holds this case, made in just this way."""
    try:
        with xr.open_dataset(path, decode_times=False) as dataset:
            found = dataset.attrs
            expected = {
                "event_id": case.event_id,
                "first_frame": case.first_frame,
                **provenance,
            }
            return all(found.get(key) == value for key, value in expected.items())
    except (OSError, ValueError):
        return False


def _axis(name: str, size: int, pixel_metres: float) -> tuple[str, np.ndarray, dict[str, str]]:
    centres = (np.arange(size) + 0.5 - size / 2) * pixel_metres
    return (
        name,
        centres,
        {
            "standard_name": f"projection_{name}_coordinate",
            "units": "m",
            "axis": name.upper(),
        },
    )
