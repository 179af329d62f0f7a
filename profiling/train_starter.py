"""Train the starter model, and pack the weights of a training as the package carries them.

    python -m profiling train-starter train --radar DIR --finland DIR --name starter
    python -m profiling train-starter pack --name starter

`train` goes on from the run's newest checkpoint, as `prediff train` does; its settings are those of
configs/nowcast.yaml. `pack` writes prediff/starter/{weights.safetensors, card.json} of the moving
average. Which windows are trained on stands in profiling/starter_data.py.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import numpy as np  # isort: skip
from safetensors.numpy import save

from hpc.checkpoint.format import read_checkpoint
from hpc.cluster.runtime import start_runtime
from hpc.cluster.stop import StopRequest
from hpc.errors import UserError
from prediff.config import differing_keys
from prediff.config.schema import Config
from prediff.run_folder import open_run
from prediff.starter.package import CARD, FOLDER, WEIGHTS
from prediff.trained_networks import DIFFUSION, newest_checkpoint
from prediff.training.loop import train_on
from prediff.training.one_pass import samples_of
from prediff.training.stopping import Stopped
from prediff.training.task import ONE_PASS
from profiling.starter_data import MixedWindows, kept_back_parts, training_parts

NOWCAST = Path("configs/nowcast.yaml")
ATTRIBUTION = (
    "Finnish Meteorological Institute, radar composites, CC BY 4.0; Meteo-France, MeteoNet, Etalab "
    "Open Licence 2.0; TAASRAD19, Franch et al. 2020, Meteotrentino, doi 10.5281/zenodo.3577451, "
    "CC BY 4.0 by its publication"
)


def train(
    *, radar: Path, finland: Path, name: str, overrides: Sequence[str], minutes: float | None
) -> None:
    """Train from the newest checkpoint of a run to its last step.

    Raises:
        UserError: data are missing, or the run was made with other settings.
    """
    folder, config = open_run(name=name, config=NOWCAST, data=None, overrides=overrides)
    limit = None if minutes is None else 60 * minutes
    with (
        start_runtime() as runtime,
        StopRequest(stop_file=folder.stop_file, max_seconds=limit, leads=True) as stop,
    ):
        samples = samples_of(
            MixedWindows(training_parts(radar, finland)),
            MixedWindows(kept_back_parts(radar), length=256),
            config,
            cadence_minutes=5,
        )
        train_on(samples, ONE_PASS, folder, config, runtime, stop=stop)


def pack(weights: dict[str, np.ndarray], config: Config, *, folder: Path = FOLDER) -> str:
    """Write weights and card of the starter; return the SHA-256.

    Args:
        weights: of the network and its loss, by name in a checkpoint.
        config: of the training.
    """
    arrays = {
        key.removeprefix("network."): value.astype(np.float16)
        for key, value in weights.items()
        if key.startswith("network.")
    }
    content = save(arrays)
    card = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "settings": ["diffusion.objective=crps", *_settings(config)],
        "minutes": [5, 10],
        "sides": [64],
        "kilometres": [2.6, 3.0],
        "attribution": ATTRIBUTION,
    }
    (folder / WEIGHTS).write_bytes(content)
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")
    return str(card["sha256"])


def _settings(config: Config) -> list[str]:
    changed = differing_keys(Config(), config, ("one_pass",))
    of_network = [text for text in changed if not text.startswith("one_pass.init_from")]
    return [text.split(":", 1)[0] + "=" + text.rsplit(" -> ", 1)[1] for text in of_network]


def main(
    *,
    what: Literal["train", "pack"],
    radar: Annotated[Path | None, typer.Option(help="folder of the radar trees")] = None,
    finland: Annotated[Path | None, typer.Option(help="tree of long events")] = None,
    name: Annotated[str, typer.Option(help="of the run")] = "starter",
    overrides: Annotated[list[str] | None, typer.Option("--set")] = None,
    minutes: Annotated[float | None, typer.Option(help="then save and stop")] = None,
) -> None:
    if what == "pack":
        folder, config = open_run(
            name=name, config=None, data=None, overrides=overrides or (), save=False
        )
        print(pack(read_checkpoint(newest_checkpoint(folder, DIFFUSION)).arrays["ema"], config))
        return
    if radar is None or finland is None:
        raise UserError("train needs --radar and --finland")
    try:
        train(radar=radar, finland=finland, name=name, overrides=overrides or (), minutes=minutes)
    except Stopped as stopped:
        raise UserError(str(stopped)) from None
