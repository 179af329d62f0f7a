"""Scores of small cases computed by `scores`, `xskillscore` and `pysteps`.

``python tests/prediff/verification_oracles.py`` writes them to tests/data, where the tests find
them without those packages; with the packages the tests also compute them anew.
"""

import json
import warnings
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).parents[1] / "data" / "verification" / "oracles.json"
THRESHOLDS = (16.0, 74.0, 133.0)
SCALES = (1, 3, 9)


def storms(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return smooth blobs on a dry background, values in [0, 1], float32."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.RandomState(seed).standard_normal(shape)
    sigma = [0] * (len(shape) - 2) + [2, 2]
    smooth = gaussian_filter(noise, sigma, mode="wrap")
    return np.clip(smooth / smooth.std() * 0.35 - 0.1, 0, 1).astype(np.float32)


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return forecasts ``[M, T, H, W]`` and observations ``[T, H, W]``, ordinary and degenerate."""
    shape = (2, 24, 20)
    truth = storms(1, shape)
    ensemble = np.clip(0.6 * truth + 0.6 * storms(2, (5, *shape)), 0, 1).astype(np.float32)
    holes, holes_in_forecast = truth.copy(), ensemble.copy()
    holes[:, 3:6, 4:9] = np.nan
    holes_in_forecast[2, :, 10:12] = np.nan
    zeros = np.zeros(shape, np.float32)
    return {
        "storms": (ensemble, truth),
        "no_rain": (np.zeros((3, *shape), np.float32), zeros),
        "false_alarm": (np.full((3, *shape), 0.5, np.float32), zeros),
        "all_rain": (np.ones((3, *shape), np.float32), zeros + 1),
        "one_member": (ensemble[:1], truth),
        "constant_members": (np.repeat(ensemble[:1], 4, axis=0), truth),
        "missing": (holes_in_forecast, holes),
    }


def oracle_values(ensemble: np.ndarray, truth: np.ndarray) -> dict[str, list]:
    """Return what the three packages say, each as nested lists by lead time."""
    import xarray as xr
    import xskillscore as xs
    from pysteps.utils.spectral import rapsd
    from pysteps.verification.spatialscores import fss
    from scores.categorical import ThresholdEventOperator
    from scores.continuous import mae, mse
    from scores.probability import brier_score_for_ensemble, crps_for_ensemble

    forecast = xr.DataArray(ensemble.astype(float), dims=("member", "lead", "y", "x"))
    observed = xr.DataArray(truth.astype(float), dims=("lead", "y", "x"))
    complete = np.isfinite(forecast).all("member") & np.isfinite(observed)
    forecast, observed = forecast.where(complete), observed.where(complete)
    mean = forecast.mean("member", skipna=False)
    keep = {"preserve_dims": ["lead"]}
    over = {"dim": ["y", "x"]}
    values = {
        "mse": mse(mean, observed, **keep),
        "mae": mae(mean, observed, **keep),
        "crps": crps_for_ensemble(forecast, observed, "member", method="ecdf", **keep),
        "crps_xskillscore": xs.crps_ensemble(
            observed.stack(p=("y", "x")).where(complete.stack(p=("y", "x")), 0),
            forecast.stack(p=("y", "x")).where(complete.stack(p=("y", "x")), 0),
            dim="p",
        )
        * complete[0].size
        / complete.sum(["y", "x"]),
    }
    if len(ensemble) > 1:
        values["fair_crps"] = crps_for_ensemble(forecast, observed, "member", method="fair", **keep)
        spread = forecast.var("member", ddof=1, skipna=False)
        values["spread"] = np.sqrt(spread.mean(["y", "x"]))
    vil_forecast, vil_observed = forecast * 255, observed * 255
    for threshold in THRESHOLDS:
        for fair in (False, True):
            if fair and len(ensemble) == 1:
                continue
            name = f"{'fair_' if fair else ''}brier_{threshold:g}"
            values[name] = brier_score_for_ensemble(
                vil_forecast, vil_observed, "member", threshold, fair_correction=fair, **keep
            )
        operator = ThresholdEventOperator(default_event_threshold=threshold)
        filled = (xr.where(complete, field, -1.0) for field in (mean * 255, vil_observed))
        table = operator.make_contingency_manager(*filled).transform(**keep)
        values |= {
            f"csi_{threshold:g}": table.critical_success_index(),
            f"pod_{threshold:g}": table.probability_of_detection(),
            f"far_{threshold:g}": table.false_alarm_ratio(),
            f"hss_{threshold:g}": table.heidke_skill_score(),
            f"bias_{threshold:g}": table.frequency_bias(),
        }
        contingency = xs.Contingency(
            vil_observed.fillna(-1),
            (mean * 255).fillna(-1),
            np.array([-np.inf, threshold, np.inf]),
            np.array([-np.inf, threshold, np.inf]),
            **over,
        )
        values[f"csi_xskillscore_{threshold:g}"] = contingency.threat_score()
    out = {name: np.asarray(value, float).reshape(-1).tolist() for name, value in values.items()}
    for threshold in THRESHOLDS:
        for scale in SCALES:
            out[f"fss_{threshold:g}_{scale}"] = [
                float(fss(f, o, threshold, scale))
                for f, o in zip((mean * 255).values, vil_observed.values, strict=True)
            ]
    if bool(complete.all()):
        out["power"] = [rapsd(frame.astype(float), np.fft).tolist() for frame in truth]
    return out


def compute() -> dict[str, dict[str, list]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: oracle_values(*arrays) for name, arrays in cases().items()}


if __name__ == "__main__":
    GOLDENS.write_text(json.dumps(compute(), indent=0) + "\n")
