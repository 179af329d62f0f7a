"""What a command may replace: a file or folder that a command of ours has made, nothing else."""

from collections.abc import Callable
from pathlib import Path

from hpc.errors import UserError


def refuse_foreign(path: Path, *, is_ours: Callable[[Path], bool]) -> None:
    """Refuse to replace what stands at a path and is not provably ours.

    Args:
        path: that a command is to write; nothing may be there.
        is_ours: looks for the marker that the command leaves; an error of reading means no.

    Raises:
        UserError: something else is there.
    """
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link that leads nowhere: remove it, or choose another place")
    if not path.exists():
        return
    try:
        ours = is_ours(path)
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise UserError(
            f"{path} is there and was not made by this command: remove it, or choose another place"
        )
