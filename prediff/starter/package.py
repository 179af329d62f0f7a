"""The packaged weights, their configuration, and what they hold for; a changed byte is refused."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from hpc.errors import UserError
from prediff.config import Config, load_config

FOLDER = Path(__file__).parent
WEIGHTS, CARD = "weights.safetensors", "card.json"


@dataclass(frozen=True)
class StarterCard:
    """What is known of the packaged weights.

    Attributes:
        sha256: of the file with the weights.
        settings: ``section.key=value`` texts of the network's configuration.
        minutes: between frames, that it was trained and tested on.
        sides: pixels of a frame, that it was tested on.
        kilometres: smallest and largest side of a pixel in its training.
        attribution: of the data that it was trained on.
    """

    sha256: str
    settings: tuple[str, ...]
    minutes: tuple[float, ...]
    sides: tuple[int, ...]
    kilometres: tuple[float, float]
    attribution: str


def starter_card(folder: Path = FOLDER) -> StarterCard:
    """Return what is known of the packaged weights.

    Raises:
        UserError: the package has none, or they were changed.
    """
    try:
        said: dict[str, Any] = json.loads((folder / CARD).read_text())
        return StarterCard(**{key: _frozen(value) for key, value in said.items()})
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"the starter model's {folder / CARD} cannot be read: install prediff again ({error})"
        ) from None


def starter_weights(folder: Path = FOLDER) -> dict[str, np.ndarray]:
    """Return the packaged weights by parameter name.

    Raises:
        UserError: the file is missing, or not byte for byte the one that was released.
    """
    path, card = folder / WEIGHTS, starter_card(folder)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"the starter model {path} cannot be read: install prediff again ({error})"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != card.sha256:
        raise UserError(
            f"the starter model {path} was changed: its SHA-256 is {found[:12]}..., not "
            f"{card.sha256[:12]}...: install prediff again"
        )
    return {name: array.astype(np.float32) for name, array in load(content).items()}


@lru_cache(maxsize=1)
def starter_config() -> Config:
    """Return the configuration of the packaged weights."""
    return load_config(None, starter_card().settings)


def starter_warnings(
    *, minutes: float, height: int, width: int, kilometres: float | None
) -> list[str]:
    """Return what speaks against a forecast of such frames, one sentence each; empty if nothing.

    Args:
        minutes: between frames.
        height, width: of a frame in pixels.
        kilometres: side of a pixel, None if not known.
    """
    card, found = starter_card(), []
    if not any(abs(minutes - known) <= 0.5 for known in card.minutes):
        known = " and ".join(f"{value:g}" for value in card.minutes)
        found.append(f"frames are {minutes:g} minutes apart, the starter was trained on {known}")
    if (height, width) not in {(side, side) for side in card.sides}:
        known = " and ".join(f"{side}x{side}" for side in card.sides)
        found.append(f"frames have {height}x{width} pixels, the starter was tested on {known}")
    low, high = card.kilometres
    if kilometres is not None and not 0.8 * low <= kilometres <= 1.25 * high:
        found.append(
            f"pixels are {kilometres:.3g} km wide, the starter was trained on {low:g} to {high:g}"
        )
    return found


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
