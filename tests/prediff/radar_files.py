"""Radar frames as a user has them: a DataArray, and files of it."""

import numpy as np
import xarray as xr

START = np.datetime64("2020-06-01T12:00", "ns")


def radar_frames(count=3, *, size=16, minutes=10, start=START, seed=0, **attributes):
    """Return VIL on 0-255, ``(time, y, x)``, with axes, latitude and a projection."""
    values = np.random.default_rng(seed).integers(0, 200, (count, size, size)).astype(np.float32)
    metres = np.arange(size) * 1000.0
    frames = xr.DataArray(
        values,
        dims=("time", "y", "x"),
        coords={
            "time": start + np.arange(count) * np.timedelta64(minutes * 60 * 10**9, "ns"),
            "y": ("y", metres, {"units": "m", "standard_name": "projection_y_coordinate"}),
            "x": ("x", metres, {"units": "m", "standard_name": "projection_x_coordinate"}),
            "lat": (("y", "x"), np.add.outer(metres, metres), {"units": "degrees_north"}),
            "crs": (
                (),
                0,
                {"grid_mapping_name": "lambert_azimuthal_equal_area", "proj4": "+proj=laea"},
            ),
        },
        name="vil_code",
        attrs=attributes,
    )
    frames.encoding["grid_mapping"] = "crs"
    return frames


def radar_file(path, frames):
    """Write frames as netCDF or zarr, by suffix."""
    dataset = frames.to_dataset()
    if path.suffix == ".zarr":
        dataset.to_zarr(path, zarr_format=2, consolidated=True)
    else:
        dataset.to_netcdf(path)
    return path
