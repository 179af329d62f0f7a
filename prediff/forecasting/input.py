"""Radar frames that a user hands in, as the code of the run's quantity, with times and a grid.

T time, H, W pixels. Read are netCDF and zarr, HDF5 files of a SEVIR tree, what weather services
deliver (`prediff.data.formats`), and folders of single files.
"""

from pathlib import Path

import numpy as np
import xarray as xr

from hpc.errors import UserError
from prediff.data.catalog import CATALOG_NAME, Event, read_rows
from prediff.data.file_guard import is_hdf5
from prediff.data.gridded import clock, read_gridded
from prediff.data.quantity import MISSING, VIL, Quantity, RainRelation
from prediff.data.radar_code import to_code
from prediff.data.sevir import VilReader
from prediff.forecasting.file import centred_grid
from prediff.forecasting.projection import event_grid, map_coordinates

RECENT_FILES = 64
"""How many files of a folder are opened in search of the newest frames, newest first."""

MOST_FILES = 1000
"""How many files a folder of frames may hold to be read as a whole."""


def read_frames(
    path: Path,
    *,
    event: str | None = None,
    quantity: Quantity = VIL,
    relation: RainRelation | None = None,
) -> xr.DataArray:
    """Return all frames of a file or folder, ``(time, y, x)`` float32 code, NaN where missing.

    Args:
        path: a radar file of any format, an HDF5 file of a SEVIR tree with its catalog, or a
            folder of files of single times.
        event: id or row of the event, for HDF5 of several events.
        quantity: whose code is wanted.
        relation: between reflectivity and rain.

    Raises:
        UserError: no such file, no frames, no times, no such event, or other values.
    """
    if not path.exists():
        raise UserError(f"no radar file at {path}")
    if path.is_dir() and path.suffix != ".zarr":
        return _read_folder(path, event=event, quantity=quantity, relation=relation)
    if _is_of_a_tree(path):
        frames = _read_event(path, event)
    elif event is not None:
        raise UserError(f"{path}: --event is for HDF5 files of a SEVIR tree: leave it out")
    else:
        frames = _read_any(path)
    return to_code(frames, quantity=quantity, relation=relation, place=str(path))


def read_newest_frames(
    folder: Path,
    *,
    count: int,
    quantity: Quantity = VIL,
    relation: RainRelation | None = None,
    passed_over: list[str] | None = None,
) -> xr.DataArray:
    """Return the newest ``count`` frames of a folder of radar files, as `read_frames`.

    Times within the files decide, not their names; of two frames of one time the file that was
    modified last wins. Only the last :data:`RECENT_FILES` files to be modified are opened (more if
    more frames are asked for). Names that begin with a dot are files still being written. A file
    that cannot be read, or whose frames are of the future, is passed over.

    Args:
        passed_over: gets one line for each such file.

    Raises:
        UserError: no such folder, or too few frames.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: --latest takes a folder of radar files")
    files = _files_of(folder)
    if not files:
        raise UserError(f"{folder} holds no files of radar frames: name another folder")
    files.sort(key=lambda file: (file.stat().st_mtime, file.name), reverse=True)
    found: dict[np.datetime64, xr.DataArray] = {}
    said = passed_over if passed_over is not None else []
    for file in files[: max(RECENT_FILES, 4 * count)]:
        try:
            frames = read_frames(file, quantity=quantity, relation=relation)
        except UserError as error:
            said.append(str(error))
            continue
        for frame in frames:
            found.setdefault(frame["time"].values[()], _with_encoding(frame, frames))
    newest = [found[time] for time in sorted(found)][-count:]
    if len(newest) < count:
        why = f"; passed over {len(said)}, as: {said[0]}" if said else ""
        raise UserError(
            f"{folder} holds {len(newest)} frames at different times, the model takes {count}{why}"
        )
    return _joined(newest, place=f"{folder}: the newest {count} frames")


def _files_of(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.iterdir()
        if not file.name.startswith(".")
        and (file.is_file() or file.suffix == ".zarr")
        and file.suffix not in (".csv", ".json", ".md", ".txt", ".idx")
    ]


def _read_folder(
    folder: Path, *, event: str | None, quantity: Quantity, relation: RainRelation | None
) -> xr.DataArray:
    """Return the frames of a folder whose files hold one time each, or a few."""
    if event is not None:
        raise UserError(f"{folder}: --event is for HDF5 files of a SEVIR tree: leave it out")
    files = sorted(_files_of(folder))
    if not files:
        raise UserError(f"{folder} is a folder without radar files: name another one")
    if len(files) > MOST_FILES:
        raise UserError(
            f"{folder} holds {len(files)} files: a folder to read as a whole has at most "
            f"{MOST_FILES}; take the newest with --latest"
        )
    found: dict[np.datetime64, tuple[Path, xr.DataArray]] = {}
    for file in files:
        frames = read_frames(file, quantity=quantity, relation=relation)
        for frame in frames:
            time = frame["time"].values[()]
            if time in found:
                raise UserError(
                    f"{found[time][0]} and {file} both hold a frame of {clock(time)}: keep one"
                )
            found[time] = file, _with_encoding(frame, frames)
    return _joined([found[time][1] for time in sorted(found)], place=str(folder))


def _with_encoding(frame: xr.DataArray, frames: xr.DataArray) -> xr.DataArray:
    frame.encoding = dict(frames.encoding)
    return frame


def _joined(frames: list[xr.DataArray], *, place: str) -> xr.DataArray:
    """Return single frames one after another.

    Raises:
        UserError: they differ in size, place or direction of storage.
    """
    if len({frame.shape for frame in frames}) > 1:
        sizes = ", ".join(sorted({f"{f.shape[0]}x{f.shape[1]}" for f in frames}))
        raise UserError(f"{place} differ in size: {sizes}")
    first = frames[0]
    for frame in frames[1:]:
        for name in ("y", "x"):
            if (name in frame.coords) != (name in first.coords) or (
                name in frame.coords and not _same_axis(frame[name].values, first[name].values)
            ):
                raise UserError(f"{place} lie in different places: {name} is not the same in all")
    joined = xr.concat(frames, dim="time", coords="minimal", compat="override", join="override")
    joined.encoding = frames[-1].encoding
    return joined


def _same_axis(one: np.ndarray, other: np.ndarray) -> bool:
    tolerance = 0.01 * abs(float(one[-1] - one[0])) / max(len(one) - 1, 1)
    return bool(np.allclose(one, other, rtol=0, atol=tolerance))


def _read_any(path: Path) -> xr.DataArray:
    """Return the frames of one file: netCDF and zarr as they are, others by their reader."""
    if path.is_dir() or path.suffix in (".nc", ".nc4", ".cdf"):
        return read_gridded(path)
    from prediff.data.formats.read_file import read_images

    images = read_images(path)
    first = images[0]
    if any(image.grid.key != first.grid.key for image in images):
        raise UserError(f"{path} holds images of different places")
    coordinates, mapping = map_coordinates(first.grid)
    frames = xr.DataArray(
        np.stack([image.values for image in images]),
        dims=("time", "y", "x"),
        coords={"time": [image.time for image in images], **coordinates},
        name=first.quantity.name,
        attrs={"units": first.quantity.units},
    )
    if mapping is not None:
        frames.encoding["grid_mapping"] = mapping
    return frames


def _is_of_a_tree(path: Path) -> bool:
    """Return whether a file is HDF5 with one of a tree's arrays."""
    if path.suffix not in (".h5", ".hdf5") or not is_hdf5(path):
        return path.suffix in (".h5", ".hdf5") and _tree_of(path) is not None
    import h5py

    with h5py.File(path, "r") as file:
        return any(name in file for name in ("vil", "reflectivity", "rain_rate")) and (
            "where" not in file
        )


def _tree_of(path: Path) -> Path | None:
    return next((up for up in path.resolve().parents if (up / CATALOG_NAME).is_file()), None)


def _read_event(path: Path, wanted: str | None) -> xr.DataArray:
    root = _tree_of(path)
    if root is None:
        raise UserError(
            f"{path} has no times: a SEVIR file needs the {CATALOG_NAME} of its tree in a folder "
            "above it"
        )
    whole, data = path.resolve(), root / "data"
    name = whole.relative_to(data).as_posix() if whole.is_relative_to(data) else whole.name
    events = [row.event for row in read_rows(root) if row.event.file == name]
    event = _chosen_event(events, wanted, path)
    with VilReader(root) as reader:
        reader.require_rows([event])
        raw = reader.read(name, event.index)
        quantity = reader.quantity(name)
    frames, height, width = raw.shape
    offsets = event.frame_offsets(frames)
    if offsets is None:
        raise UserError(
            f"{root / CATALOG_NAME}: minute_offsets of event {event.id} do not fit its {frames} "
            "frames, so they have no times"
        )
    values = np.where(raw == MISSING, np.nan, raw).astype(np.float32)
    pixel = event.width_metres / width
    grid, mapping = event_grid(event, height=height, width=width, pixel_metres=pixel)
    found = xr.DataArray(
        values,
        dims=("time", "y", "x"),
        coords={
            "time": np.datetime64(event.time, "ns")
            + np.array(offsets).astype("timedelta64[m]").astype("timedelta64[ns]"),
            **(grid or centred_grid(height=height, width=width, pixel_metres=pixel)),
        },
        name=quantity.code_name,
    )
    if mapping is not None:
        found.encoding["grid_mapping"] = mapping
    return found


def _chosen_event(events: list[Event], wanted: str | None, path: Path) -> Event:
    if not events:
        raise UserError(f"{path} is not in the catalog above it, so its frames have no times")
    if wanted is None:
        if len(events) > 1:
            some = ", ".join(event.id for event in events[:3])
            raise UserError(f"{path} holds {len(events)} events: add --event, such as {some}")
        return events[0]
    by_id = [event for event in events if event.id == wanted]
    if len({event.index for event in by_id}) > 1:
        rows = ", ".join(str(event.index) for event in by_id[:5])
        raise UserError(f"{path} has several events {wanted}: name a row, one of {rows}")
    chosen = by_id or [event for event in events if str(event.index) == wanted]
    if not chosen:
        raise UserError(f"{path} has no event {wanted}: it holds {len(events)}, as {events[0].id}")
    return chosen[0]
