"""The packaged model as a forecaster of anybody's frames, and what it does not hold for.

T time, H, W pixels.
"""

import numpy as np
import xarray as xr

from hpc.cluster.runtime import Runtime
from prediff.config import Config
from prediff.forecasting.file import Attributes
from prediff.forecasting.one_pass import OnePassForecaster
from prediff.models import build_one_pass
from prediff.starter.package import starter_card, starter_warnings, starter_weights
from prediff.trained_networks import set_weights

STARTER = "@starter"
"""Stands for the packaged model where a run is named; no run can be called so."""
WARNING = "warning"
"""Attribute of a forecast's file: what speaks against using it."""
SMALLEST_SIDE = 32


def starter_forecaster(config: Config, *, sharing: Runtime) -> OnePassForecaster:
    """Return the packaged network, ready to forecast.

    Raises:
        UserError: the packaged weights are missing or were changed, or are of another network than
            the configuration says.
    """
    network = build_one_pass(config)
    set_weights(network, starter_weights(), prefix="")
    network.set_train(False)
    cadence = starter_card().minutes[0]
    return OnePassForecaster(network, config, cadence_minutes=cadence, sharing=sharing)


def starter_provenance(config: Config) -> Attributes:
    """Return what a forecast of the packaged model says of it, as the attributes of its file."""
    card = starter_card()
    return {
        "run": "starter",
        "seed": config.seed,
        "solver": "one_pass",
        "solver_steps": 1,
        "ensemble_members": config.forecast.ensemble_members,
        "denoiser_sha256": card.sha256,
        "autoencoder_sha256": "none",
        "guidance": "none",
        "training_data": card.attribution,
    }


def starter_takes(frames: xr.DataArray) -> bool:
    """Return whether frames are taken as they are; others are reduced to 64 x 64 or refused."""
    height, width = frames.sizes["y"], frames.sizes["x"]
    return height % 8 == width % 8 == 0 and min(height, width) >= SMALLEST_SIDE


def starter_limits(frames: xr.DataArray, *, minutes: float) -> Attributes:
    """Return the attribute that warns of frames unlike those of the training, or nothing."""
    found = starter_warnings(
        minutes=minutes,
        height=frames.sizes["y"],
        width=frames.sizes["x"],
        kilometres=_pixel_kilometres(frames),
    )
    return {WARNING: "; ".join(found)} if found else {}


def _pixel_kilometres(frames: xr.DataArray) -> float | None:
    if "x" not in frames.coords or frames.sizes["x"] < 2:
        return None
    scale = {"m": 1e-3, "metre": 1e-3, "km": 1.0}.get(str(frames["x"].attrs.get("units", "")))
    values = frames["x"].values
    if scale is None or values.dtype.kind not in "fiu":
        return None
    return float(abs(np.diff(values).mean()) * scale)
