"""Whether what lies at a path is ours: made by this user or root, and nobody else can change it."""

import os
import stat
from pathlib import Path

PRIVATE_MODE = 0o700
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_private_folder(folder: Path) -> None:
    """Make a folder, and the missing ones above it, that only this user can enter.

    Raises:
        OSError: it cannot be made.
    """
    if not folder.is_dir():
        if not folder.parent.exists():
            make_private_folder(folder.parent)
        folder.mkdir(mode=PRIVATE_MODE, exist_ok=True)


def why_not_ours(path: Path) -> str | None:
    """Return why a file or folder may be somebody else's work; None if it is ours.

    Whoever may write in a folder may put anything there; so ask for the folder too.
    """
    try:
        found = os.lstat(path)
    except OSError as error:
        return f"{path} cannot be looked at ({error.strerror})"
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to user number {found.st_uid}"
    if stat.S_ISLNK(found.st_mode):
        return f"{path} is a link"
    if found.st_mode & _OTHERS_WRITE:
        return f"others may write {path} (mode {stat.S_IMODE(found.st_mode):o})"
    return None
