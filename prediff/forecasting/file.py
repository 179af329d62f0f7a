"""Ensemble forecasts as CF-1.7 datasets, in netCDF or zarr.

Letters: M ensemble member, T lead time, H, W pixels.
"""

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hpc.durable_files import replace_file, replace_folder
from hpc.errors import UserError
from prediff.data.catalog import Event
from prediff.data.quantity import QUANTITIES, VIL, Quantity
from prediff.forecasting.projection import event_grid
from prediff.replaceable import refuse_foreign

DIMENSIONS = ("realization", "lead_time", "y", "x")
SUFFIXES = (".nc", ".zarr")
TITLE = "PreDiff ensemble forecast"
"""Of every forecast; what has another one is nobody's to replace."""

Attributes = dict[str, str | int | float]


@dataclass(frozen=True)
class ForecastWindow:
    """What was forecast: an event, the window in it, and the clock.

    Attributes:
        event_id: the catalog's name of the event.
        first_frame: of the window's context in the event.
        init_time: UTC time of the last context frame.
        minutes: between frames.
        pixel_metres: side of a pixel.
        event: where the frames lie, if known.
    """

    event_id: str
    first_frame: int
    init_time: datetime
    minutes: float
    pixel_metres: float
    event: Event | None = None

    @property
    def label(self) -> str:
        return f"{self.event_id}_{self.first_frame:02d}"


def write_forecast(
    path: Path,
    *,
    ensemble_MTHW: np.ndarray,
    case: ForecastWindow,
    provenance: Attributes,
    quantity: Quantity = VIL,
) -> None:
    """Write an ensemble of a test case in [0, 1]; the file appears whole.

    Args:
        path: of the netCDF file.
        ensemble_MTHW: float32 ``[member, lead_time, height, width]``; NaN where pixels are missing.
        case: names and times.
        provenance: global attributes such as the checkpoint's SHA-256.
        quantity: what was forecast.
    """
    height, width = ensemble_MTHW.shape[2:]
    pixel = case.pixel_metres
    grid, mapping = None, None
    if case.event is not None:
        grid, mapping = event_grid(case.event, height=height, width=width, pixel_metres=pixel)
    dataset = forecast_dataset(
        ensemble_MTHW,
        quantity=quantity,
        minutes=case.minutes,
        init_time=np.datetime64(case.init_time, "ns"),
        grid=grid or centred_grid(height=height, width=width, pixel_metres=pixel),
        grid_mapping=mapping,
        attributes={"event_id": case.event_id, "first_frame": case.first_frame, **provenance},
    )
    write_dataset(path, dataset)


def forecast_dataset(
    ensemble_MTHW: np.ndarray,
    *,
    quantity: Quantity = VIL,
    minutes: float,
    init_time: np.datetime64 | None,
    grid: Mapping[Hashable, Any],
    grid_mapping: str | None = None,
    attributes: Attributes,
) -> xr.Dataset:
    """Return an ensemble in [0, 1] as code (0-255) and in the quantity's units, by CF-1.7.

    Args:
        ensemble_MTHW: float32 ``[member, lead_time, height, width]``; NaN where pixels are missing.
        quantity: what was forecast.
        minutes: between frames.
        init_time: UTC time of the last context frame; None leaves absolute times out.
        grid: coordinates on ``y`` and ``x`` alone, such as the axes, latitude or the projection.
        grid_mapping: which of them is the projection.
        attributes: global ones.
    """
    members, leads = ensemble_MTHW.shape[:2]
    code = np.clip(ensemble_MTHW, 0, 1) * np.float32(255)
    lead_minutes = np.arange(1, leads + 1) * minutes
    if float(minutes).is_integer():
        lead_minutes = lead_minutes.astype(np.int32)
    coordinates = {
        "realization": (
            "realization",
            np.arange(members, dtype=np.int32),
            {"standard_name": "realization", "units": "1"},
        ),
        "lead_time": (
            "lead_time",
            lead_minutes,
            {"standard_name": "forecast_period", "units": "minutes"},
        ),
        **grid,
    }
    if init_time is not None:
        start = init_time.astype("datetime64[ns]")
        seconds = np.rint(np.asarray(lead_minutes) * 60).astype("timedelta64[s]")
        coordinates |= {
            "forecast_reference_time": (
                (),
                start,
                {"standard_name": "forecast_reference_time"},
            ),
            "time": (
                "lead_time",
                start + seconds.astype("timedelta64[ns]"),
                {"standard_name": "time"},
            ),
        }
    dataset = xr.Dataset(
        {
            quantity.code_name: (
                DIMENSIONS,
                code,
                {"long_name": f"code 0-255 of {quantity.title}", "units": "1"},
            ),
            quantity.name: (
                DIMENSIONS,
                quantity.decode(code).astype(np.float32),
                {"long_name": quantity.long_name, "units": quantity.units}
                | ({"standard_name": quantity.standard_name} if quantity.standard_name else {}),
            ),
        },
        coords=coordinates,
        attrs={
            "Conventions": "CF-1.7",
            "title": TITLE,
            "history": "made by prediff forecast",
            "quantity": quantity.name,
            **attributes,
        },
    )
    if grid_mapping is not None:
        for name in dataset.data_vars:
            dataset[name].encoding["grid_mapping"] = grid_mapping
    return dataset


def centred_grid(*, height: int, width: int, pixel_metres: float) -> dict[Hashable, Any]:
    """Return axes in metres from the frame's middle, for frames whose place is not known."""
    return {"y": _axis("y", height, pixel_metres), "x": _axis("x", width, pixel_metres)}


def check_suffix(path: Path) -> None:
    """Raise UserError unless the path's suffix says netCDF or zarr."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: a forecast is written as {' or '.join(SUFFIXES)}: change --out")


def check_target(path: Path) -> None:
    """Refuse a place for a forecast that cannot be one, or where something else stands.

    Raises:
        UserError: the suffix is another one, or a file or folder is there that is no forecast.
    """
    check_suffix(path)
    refuse_foreign(path, is_ours=_is_forecast)


def _is_forecast(path: Path) -> bool:
    if path.suffix == ".zarr":
        return json.loads((path / ".zattrs").read_bytes())["title"] == TITLE
    with xr.open_dataset(path, decode_times=False) as dataset:
        return dataset.attrs.get("title") == TITLE


def write_dataset(path: Path, dataset: xr.Dataset) -> None:
    """Write a forecast as netCDF or zarr, by suffix; it appears whole, in place of an older one.

    Raises:
        UserError: another suffix, or a place that cannot be written.
    """
    check_suffix(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".zarr":
            check_target(path)
            # Version 2: its consolidated metadata are a standard that every reader has.
            with replace_folder(path, overwrite=True) as aside:
                _without_codecs(dataset).to_zarr(aside, mode="w", zarr_format=2, consolidated=True)
        else:
            with replace_file(path) as aside:
                _without_codecs(dataset).to_netcdf(
                    aside, engine="netcdf4", encoding=_encodings(dataset)
                )
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}") from None


def _without_codecs(dataset: xr.Dataset) -> xr.Dataset:
    """Drop how an input was packed: its codecs may be of another format, its integers too small."""
    bare = dataset.drop_encoding()
    for name, variable in dataset.variables.items():
        mapping = variable.encoding.get("grid_mapping")
        if mapping is not None:
            bare[name].encoding["grid_mapping"] = mapping
    return bare


def _encodings(dataset: xr.Dataset) -> dict[Hashable, dict[str, Any]]:
    """Return netCDF types that CF-1.7 allows, and no fill value where none can be missing."""
    encodings: dict[Hashable, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if name in dataset.data_vars:
            encodings[name] = {"zlib": True, "complevel": 1, "dtype": "float32"}
            if "grid_mapping" in variable.encoding:
                encodings[name]["grid_mapping"] = variable.encoding["grid_mapping"]
        elif np.issubdtype(variable.dtype, np.datetime64):
            encodings[name] = {
                "dtype": "float64",
                "units": "minutes since 1970-01-01 00:00:00",
                "calendar": "standard",
                "_FillValue": None,
            }
        elif variable.dtype.kind in "iu":
            encodings[name] = {"dtype": "int32", "_FillValue": None}
        else:
            encodings[name] = {"_FillValue": None}
    return encodings


def read_forecast(path: Path) -> tuple[np.ndarray, Attributes]:
    """Return the ensemble ``[member, lead_time, height, width]`` in [0, 1] and the attributes.

    Raises:
        UserError: the file is missing, damaged, or not one of ours.
    """
    try:
        with xr.open_dataset(path, decode_timedelta=False) as dataset:
            name = next((q.code_name for q in QUANTITIES.values() if q.code_name in dataset), None)
            if name is None:
                raise KeyError("no code of a quantity")
            return dataset[name].values / np.float32(255), dict(dataset.attrs)
    except FileNotFoundError:
        raise UserError(f"no forecast at {path}; `prediff forecast` makes it") from None
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is no forecast that can be read: {error}") from None


def is_forecast_of(path: Path, case: ForecastWindow, provenance: Attributes) -> bool:
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
