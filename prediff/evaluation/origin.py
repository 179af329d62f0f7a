"""How an evaluation was made: its data, its split, its software, its configuration."""

import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prediff.config import Config
from prediff.data.licence import licence_of
from prediff.data.open_data import data_root, is_synthetic, selection
from prediff.forecasting.test_set import TestCase, provenance
from prediff.run_folder import RunFolder
from prediff.trained_networks import config_sha256

PACKAGES = ("prediff-hpc", "mindspore", "numpy", "scipy", "pysteps")


def origin(folder: RunFolder, config: Config, cases: Sequence[TestCase]) -> dict[str, str]:
    """Return what the report says of its making, in the order of reading.

    Args:
        cases: all that were to be scored.
    """
    root = data_root(folder, config)
    times = sorted(case.case.init_time for case in cases)
    synthetic = is_synthetic(folder, config)
    boundary = selection(root, config).test_after
    return {
        "data": f"{root}{' (synthetic storms)' if synthetic else ''}",
        "licence of the data": "none: made up" if synthetic else licence_of(root),
        "split": (
            f"test events after {boundary:%Y-%m-%d %H:%M} UTC, "
            f"{config.data.split.replace('_', ' ')}"
        ),
        "cases": (
            f"{len(cases)}, spread evenly over the test windows "
            f"(forecast.cases = {config.forecast.cases})"
        ),
        "forecast times": f"{times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M} UTC",
        **{
            name.replace("_", " "): str(value) for name, value in provenance(folder, config).items()
        },
        "configuration SHA-256": config_sha256(config),
        "software": ", ".join(_versions()),
        "commit": _commit() or "not known: installed without its repository",
    }


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """Return the commit of a checkout that this module lies in, marked where it was changed."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
