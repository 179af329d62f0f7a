"""A trained run as a function from radar frames to an ensemble forecast, for services."""

from collections.abc import Hashable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hpc.checkpoint.format import read_state
from hpc.cluster.runtime import ALONE, Runtime, start_runtime
from hpc.errors import UserError
from prediff.config import Config, load_config, setting
from prediff.data.open_data import open_split, run_quantity, run_relation
from prediff.data.orientation import FLIPPED, as_stored
from prediff.data.quantity import MISSING, VIL
from prediff.data.radar_code import CONVERTED, check_code, to_code
from prediff.forecasting.context import check_cadence, check_valid, choose_context, fit_to_size
from prediff.forecasting.ensemble import EnsembleForecaster
from prediff.forecasting.file import Attributes, forecast_dataset
from prediff.forecasting.noise_key import noise_key
from prediff.forecasting.one_pass import OnePassForecaster, forecaster_of_run
from prediff.forecasting.starter import (
    STARTER,
    starter_forecaster,
    starter_limits,
    starter_provenance,
    starter_takes,
)
from prediff.forecasting.test_set import REQUESTED_INTENSITY, provenance
from prediff.run_folder import DIFFUSION, RunFolder, find_run
from prediff.starter.package import starter_card
from prediff.trained_networks import config_sha256, newest_checkpoint


class Forecaster:
    """The networks of a run; the graphs are compiled at the first call and used again after it.

    Example::

        forecaster = Forecaster("runs/first", members=32, solver="dpmpp", steps=20)
        forecast = forecaster(frames)                  # xarray.Dataset
        forecast["vil"].mean("realization")

    One process and one device, unless `runtime` has more: then every rank calls it, each samples
    its share of the members, and all return the whole forecast of rank 0's frames. Not to be called
    by two threads at once.

    Args:
        run: a run's folder, or its name below ``runs/``, or `STARTER`: the packaged model.
        members, solver, steps: of the forecasts; None is what the run's configuration says.
        overrides: further ``section.key=value`` texts, such as ``forecast.weights=raw``.
        runtime: the ranks, if it is started already.

    Raises:
        UserError: no such run, networks that are not trained, or settings that do not fit them.
    """

    def __init__(
        self,
        run: str | Path,
        *,
        members: int | None = None,
        solver: str | None = None,
        steps: int | None = None,
        overrides: Sequence[str] = (),
        runtime: Runtime | None = None,
    ) -> None:
        self.is_starter = str(run) == STARTER
        folder = None if self.is_starter else find_run(run)
        given = {"ensemble_members": members, "solver": solver, "steps": steps}
        texts = [
            setting(f"forecast.{key}", value) for key, value in given.items() if value is not None
        ]
        if folder is None:
            self.config = load_config(None, [*starter_card().settings, *texts, *overrides])
        else:
            self.config = load_config(folder.config, [*texts, *overrides])
        if self.config.forecast.guidance.source == "oracle":
            raise UserError(
                f"{run} guides by oracle, which needs the truth: set "
                "forecast.guidance.source to persistence, trend, climatology, number or none"
            )
        started = runtime or start_runtime()
        # Processes without collectives, as mpirun's, forecast each for itself.
        self._runtime = ALONE if started.world_group is None else started
        self._forecast: EnsembleForecaster | OnePassForecaster
        if folder is None:
            self._forecast = starter_forecaster(self.config, sharing=self._runtime)
            said = starter_provenance(self.config)
        else:
            self._forecast = forecaster_of_run(folder, self.config, sharing=self._runtime)
            said = provenance(folder, self.config) | {"run": folder.name}
        self._attributes: Attributes = {**said, "config_sha256": config_sha256(self.config)}
        self.quantity = run_quantity(self.config)
        """What the run learned and forecasts."""
        self.relation = run_relation(self.config)
        self.cadence_minutes = None if folder is None else trained_cadence(folder, self.config)
        """Minutes between the frames that the run learned from, None if not known or several."""

    @property
    def context_frames(self) -> int:
        return self.config.data.context_frames

    def __call__(
        self,
        frames: xr.DataArray | np.ndarray,
        *,
        at: datetime | np.datetime64 | None = None,
        place: str = "the input",
    ) -> xr.Dataset:
        """Return the ensemble ``(realization, lead_time, y, x)`` as code and in the run's units.

        It lies where the frames lie, and in the direction that they are stored in.

        A pixel that is missing in any frame is missing at every lead time. Member k is the same
        for the same frames, time and run, whatever the number of members and ranks.

        Args:
            frames: time, y and x by name, in any order and direction; the attribute ``units``
                says what the values are, as `prediff.data.radar_code.to_code` reads it; NaN is
                missing, and what attributes or a mask say is. A plain array ``[T, H, W]``, rows
                from the south, is in the run's own coding (VIL on 0-255, dBZ or mm/h) at the
                run's own cadence. As many frames as the run's context, unless ``at`` chooses among
                more; of the run's frame size or a whole multiple, of which block maxima are taken.
            at: UTC time of the last context frame; for a plain array, whose frames have no times,
                it is only written to the output.
            place: names the frames in errors.

        Raises:
            UserError: frames that the run cannot take: their number, size, cadence, coding or
                times.
        """
        sent, time = self._runtime.broadcast_object((_as_plain(frames, place=place), _utc(at)))
        frames = _from_plain(sent)
        if isinstance(frames, xr.DataArray):
            context = to_code(frames, quantity=self.quantity, relation=self.relation, place=place)
            context = choose_context(context, count=self.context_frames, at=time, place=place)
            minutes = check_cadence(context, trained=self.cadence_minutes, place=place)
            init_time = context["time"].values[-1]
        else:
            context, minutes = self._from_array(np.asarray(frames), place=place)
            init_time = time
        if not (self.is_starter and starter_takes(context)):
            context = fit_to_size(context, size=self.config.data.frame_size, place=place)
        check_valid(context, place=place)
        values = context.values[..., None] / np.float32(255)
        missing = np.isnan(values).any(axis=(0, 3))
        window = np.nan_to_num(values, nan=0.0)
        intensity = self._forecast.requested_intensity(window)
        options = {"minutes": minutes} if isinstance(self._forecast, OnePassForecaster) else {}
        ensemble = self._forecast(
            window, case_number=noise_key(init_time), intensity=intensity, **options
        )
        ensemble[..., missing] = np.nan
        attributes = dict(self._attributes)
        if intensity is not None:
            attributes[REQUESTED_INTENSITY] = intensity
        if self.is_starter:
            attributes |= starter_limits(context, minutes=minutes)
        if CONVERTED in context.encoding:
            attributes["input_converted"] = context.encoding[CONVERTED]
        dataset = forecast_dataset(
            ensemble,
            quantity=self.quantity,
            minutes=minutes,
            init_time=init_time,
            grid=_grid_of(context),
            grid_mapping=context.encoding.get("grid_mapping"),
            attributes=attributes,
        )
        return as_stored(dataset, like=context)

    def _from_array(self, frames: np.ndarray, *, place: str) -> tuple[xr.DataArray, float]:
        if frames.ndim != 3:
            raise UserError(f"{place} has shape {frames.shape}, expected [time, height, width]")
        if len(frames) != self.context_frames:
            raise UserError(
                f"{place} holds {len(frames)} frames, the model takes {self.context_frames}"
            )
        if self.cadence_minutes is None:
            raise UserError(
                "the cadence of this run is not known: hand in an xarray.DataArray with times"
            )
        values = frames.astype(np.float32)
        if self.quantity is VIL:
            if frames.dtype.kind in "iu":
                values[values == MISSING] = np.nan
            check_code(values, place=place)
        else:
            self.quantity.check(values, place=place)
            values = self.quantity.encode(values).astype(np.float32)
        context = xr.DataArray(values, dims=("time", "y", "x"), name=self.quantity.code_name)
        return context, self.cadence_minutes


def trained_cadence(folder: RunFolder, config: Config) -> float | None:
    """Return the minutes between the frames of a run's training data, None if not known.

    Checkpoints say it; for one that does not, the run's data do if they are still there.
    """
    said = read_state(newest_checkpoint(folder, DIFFUSION)).get("cadence_minutes")
    if said is not None:
        return float(said)
    try:
        with open_split(folder, config, "train") as windows:
            return float(windows.cadence_minutes)
    except UserError:
        return None


def _utc(at: datetime | np.datetime64 | None) -> np.datetime64 | None:
    if isinstance(at, datetime) and at.tzinfo is not None:
        at = at.astimezone(UTC).replace(tzinfo=None)
    return None if at is None else np.datetime64(at, "ns")


_SENT_ENCODING = ("grid_mapping", FLIPPED, CONVERTED, "scale_factor", "add_offset", "_Unsigned")


def _as_plain(frames: xr.DataArray | np.ndarray, *, place: str) -> dict[str, Any] | np.ndarray:
    """Return frames as values that ranks can send each other."""
    if isinstance(frames, xr.Dataset):
        raise UserError(f"{place} is a Dataset, expected a DataArray: hand in one variable of it")
    if not isinstance(frames, xr.DataArray):
        masked = np.ma.asarray(frames)
        return np.ma.filled(masked.astype(np.float32), np.nan) if masked.mask.any() else masked.data
    encoding = {key: frames.encoding[key] for key in _SENT_ENCODING if key in frames.encoding}
    if "dtype" in frames.encoding:
        encoding["dtype"] = np.dtype(frames.encoding["dtype"]).str
    return {**frames.to_dict(data="array"), "encoding": encoding}


def _from_plain(frames: dict[str, Any] | np.ndarray) -> xr.DataArray | np.ndarray:
    if isinstance(frames, np.ndarray):
        return frames
    encoding = frames.pop("encoding")
    array = xr.DataArray.from_dict(frames)
    array.encoding = encoding
    return array


def _grid_of(context: xr.DataArray) -> dict[Hashable, Any]:
    """Return the coordinates that a forecast has in common with its context."""
    known = {
        name: coordinate.variable
        for name, coordinate in context.coords.items()
        if name != "time" and set(coordinate.dims) <= {"y", "x"}
    }
    return known
