"""One rule for names that become files or folders, and the one place that joins them to a folder.

Names come from a command line, a catalog or another run. What passes the rule cannot leave its
folder, is no option of a command, and shows on a terminal as it stands.
"""

import re
from pathlib import Path

from hpc.errors import UserError

LONGEST_NAME = 100
RULE = (
    f"up to {LONGEST_NAME} of the letters A-Z and a-z, digits, dot, underscore and hyphen, "
    "beginning with a letter, a digit or an underscore"
)
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")


def is_name(text: str) -> bool:
    """Return whether a text may name a file or a folder of ours."""
    return _NAME.fullmatch(text) is not None


def check_name(text: str, *, what: str) -> str:
    """Return the name that was given.

    Args:
        what: it names, as the user knows it: ``--name``, ``column id``.

    Raises:
        UserError: it breaks the rule.
    """
    if not is_name(text):
        raise UserError(f"{what} {text!r} is no name: use {RULE}")
    return text


def join_inside(folder: Path, name: str, *, what: str, suffix: str = "") -> Path:
    """Return ``FOLDER/NAME`` with a suffix of ours; it lies in the folder and nowhere else.

    Raises:
        UserError: the name breaks the rule.
    """
    return folder / (check_name(name, what=what) + suffix)
