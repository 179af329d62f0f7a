"""The split of a run, written down: events that arrive later never change it.

A run's first look at its data decides which events train, validate and test. The file names them;
events of the catalog that it does not name belong to none.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc.durable_files import write_durably
from hpc.errors import UserError

NAME = "split.json"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class FixedSplit:
    """Which part each event belongs to, by id, and the rules that decided it."""

    rules: Mapping[str, Any]
    part_of: Mapping[str, str]

    def write(self, path: Path) -> None:
        """Write the split; the file appears whole."""
        parts = {part: sorted(id for id, p in self.part_of.items() if p == part) for part in PARTS}
        write_durably(path, json.dumps({"rules": dict(self.rules), **parts}, indent=1) + "\n")


def read_split(path: Path) -> FixedSplit | None:
    """Return a split that was written, None if there is none.

    Raises:
        UserError: a file that is no split.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return FixedSplit(
            rules=found["rules"], part_of={id: part for part in PARTS for id in found[part]}
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no split of a run that can be read ({error}): restore it; without it, "
            "later data could move events between training and test"
        ) from None
