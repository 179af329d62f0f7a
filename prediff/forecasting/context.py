"""From the frames that were handed in to the very ones that a model takes, or one clear refusal.

T time, H, W pixels.
"""

import numpy as np
import xarray as xr

from hpc.errors import UserError
from prediff.data.cadence import TOLERANCE
from prediff.data.gridded import clock
from prediff.data.orientation import around, is_longitude

ONE_MINUTE = np.timedelta64(60, "s")
HALF_MINUTE = np.timedelta64(30, "s")


def choose_context(
    frames: xr.DataArray, *, count: int, at: np.datetime64 | None, place: str
) -> xr.DataArray:
    """Return the ``count`` frames that end at a time.

    Args:
        frames: ``(time, y, x)`` in the order of time.
        at: time of the last one, to half a minute; None where there are just ``count``.
        place: names the frames in errors.

    Raises:
        UserError: too few frames, more without a choice, or none at that time.
    """
    times = frames["time"].values
    if at is not None:
        nearest = int(np.abs(times - at).argmin())
        if abs(times[nearest] - at) > HALF_MINUTE:
            raise UserError(
                f"{place} has no frame of {clock(at)}: its {len(times)} frames are from "
                f"{clock(times[0])} to {clock(times[-1])}"
            )
        frames = frames.isel(time=slice(0, nearest + 1))
        frames = frames.isel(time=slice(-count, None))
    found = frames.sizes["time"]
    if found < count:
        until = "" if at is None else f" until {clock(at)}"
        raise UserError(f"{place} holds {found} frames{until}, the model takes {count}")
    if found > count:
        raise UserError(
            f"{place} holds {found} frames, the model takes {count}: choose the time of the last "
            f"one, --at '{clock(times[count - 1])}' to '{clock(times[-1])}'"
        )
    return frames


def check_cadence(frames: xr.DataArray, *, trained: float | None, place: str) -> float:
    """Return the minutes between the frames.

    Args:
        trained: minutes between the frames that the model learned from; None if not known.

    Raises:
        UserError: the frames are not evenly spaced, or spaced otherwise than in training.
    """
    times = frames["time"].values
    steps = np.diff(times) / ONE_MINUTE
    if trained is None and len(steps) == 0:
        raise UserError(f"{place} is one frame, and the run's cadence is not known")
    usual = float(np.median(steps)) if len(steps) else float(trained or 0)
    odd = np.flatnonzero(np.abs(steps - usual) > TOLERANCE * usual)
    if len(odd):
        before, after = (clock(time) for time in times[odd[0] : odd[0] + 2])
        raise UserError(
            f"{place} is {usual:g} minutes apart, but there are {steps[odd[0]]:g} minutes between "
            f"{before} and {after}: frames are missing"
        )
    if trained is not None and abs(usual - trained) > TOLERANCE * trained:
        raise UserError(
            f"{place} is {usual:g} minutes apart, the model was trained on {trained:g} minutes"
        )
    # Clocks jitter: a forecast's lead times are the model's own steps.
    return usual if trained is None else trained


def fit_to_size(frames: xr.DataArray, *, size: int, place: str) -> xr.DataArray:
    """Return square frames of ``size`` pixels, the maximum of blocks of larger ones.

    A block with a missing pixel is missing. Coordinates are averaged, longitudes as the places on a
    circle that they are.

    Raises:
        UserError: the frames are no whole multiple of the size.
    """
    height, width = frames.sizes["y"], frames.sizes["x"]
    block = height // size
    if block < 1 or (height, width) != (block * size, block * size):
        raise UserError(
            f"{place} has frames of {height}x{width}, the model takes {size}x{size} or a whole "
            "multiple: cut them"
        )
    if block == 1:
        return frames
    reduced = frames.coarsen(y=block, x=block, coord_func="mean").reduce(np.max)
    for name, coordinate in frames.coords.items():
        if set(coordinate.dims) & {"y", "x"} and is_longitude(coordinate, str(name)):
            reduced = reduced.assign_coords({name: _mean_longitudes(coordinate, block)})
    reduced.encoding = frames.encoding
    return reduced


def _mean_longitudes(longitudes: xr.DataArray, block: int) -> xr.Variable:
    """Return the middle of each block, within the range that the input is written in."""
    values = longitudes.values.astype(np.float64)
    for axis in range(values.ndim):
        values = np.moveaxis(values, axis, 0)
        parts = values.reshape(-1, block, *values.shape[1:])
        values = np.moveaxis(around(parts, near=parts[:, :1]).mean(axis=1), 0, axis)
    if longitudes.min() >= 0:
        values = values % 360
    else:
        values = (values + 180) % 360 - 180
    return xr.Variable(longitudes.dims, values, longitudes.attrs)


def check_valid(frames: xr.DataArray, *, place: str) -> None:
    """Raise UserError if a frame has no valid pixel."""
    empty = np.flatnonzero(frames.isnull().all(("y", "x")).values)
    if len(empty):
        when = clock(frames["time"].values[empty[0]]) if "time" in frames.coords else str(empty[0])
        raise UserError(f"{place}: frame {when} has no valid pixel")
