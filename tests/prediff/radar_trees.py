"""Data folders for the tests: the reference's small one, and ones made to measure."""

import csv
import json
import shutil
from pathlib import Path

import h5py
import numpy as np

MINI = Path(__file__).parents[1] / "data" / "sevirlr_mini"
EXPECTED = json.loads((MINI.parent / "sevirlr_mini_expected.json").read_text())
FILE_2018 = "vil/2018/SEVIR_VIL_RANDOMEVENTS_2018_0101_0430.h5"
FILE_2019 = "vil/2019/SEVIR_VIL_STORMEVENTS_2019_0101_0630.h5"
"""Named by the catalog of MINI; the first holds training events only."""


def copy_mini(folder: Path) -> Path:
    return Path(shutil.copytree(MINI, folder / "mini"))


def read_catalog(root: Path) -> list[dict[str, str]]:
    with (root / "CATALOG.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_catalog(root: Path, rows: list[dict[str, str]]) -> None:
    with (root / "CATALOG.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def write_tree(root: Path, files: dict[str, np.ndarray]) -> Path:
    """Write arrays [events, H, W, T] and a catalog of them, an event a day from 2018-01-01."""
    rows = []
    for file, vil in files.items():
        path = root / "data" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as out:
            out["vil"] = vil
        for index in range(len(vil)):
            number = len(rows)
            rows.append(
                {
                    "id": f"R{number:03d}",
                    "file_name": file,
                    "file_index": str(index),
                    "img_type": "vil",
                    "time_utc": f"2018-01-{number + 1:02d} 00:00:00",
                    "minute_offsets": "",
                    "pct_missing": "0.0",
                }
            )
    write_catalog(root, rows)
    return root


def random_vil(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
