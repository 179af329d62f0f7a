"""The number of the start to which this process belongs, and whether a later one has taken over.

Each start of a run takes the next number in the run's folder (`hpc.cluster.hold`). A process that
outlives its start, on a host that was cut off for a while, asks here before it writes or renames
anything that belongs to the run.
"""

import os
from pathlib import Path

from hpc.errors import UserError

VARIABLE = "HPC_FENCE"
"""``NUMBER:FOLDER``, in the environment of all processes of a start."""
SUFFIX = ".json"


class Overtaken(UserError):
    """Another start works on the run by now."""


def refuse_if_overtaken() -> None:
    """Check that the run still belongs to this process's start; without a start all is allowed.

    Raises:
        Overtaken: a later start has the run.
    """
    value = os.environ.get(VARIABLE)
    if value is None:
        return
    number, _, folder = value.partition(":")
    newest = max(start_numbers(Path(folder)), default=0)
    if newest > int(number):
        raise Overtaken(
            f"start {number} of {Path(folder).parent} was given up and start {newest} has the run "
            "now: this process writes nothing any more"
        )


def start_numbers(folder: Path) -> list[int]:
    """Return the numbers of the starts that are recorded in a folder, in no order."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
    return [int(stem) for stem in stems if stem.isdigit()]


def start_file(folder: Path, number: int) -> Path:
    """Return where a start is recorded."""
    return folder / f"{number:06d}{SUFFIX}"
