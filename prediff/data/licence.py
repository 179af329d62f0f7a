"""What stands beside a data tree about who owns it."""

from pathlib import Path

LICENCE_FILES = ("LICENSE", "LICENCE", "LICENSE.txt", "LICENCE.txt", "LICENSE.md", "SOURCE.md")
_LETTERS = 200


def licence_of(root: Path) -> str:
    """Return the name and the beginning of the tree's licence, or how to state one."""
    for name in LICENCE_FILES:
        try:
            text = " ".join((root / name).read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError):
            continue
        return f"{name}: {text[:_LETTERS]}"
    return f"not stated: put {LICENCE_FILES[0]} beside the catalog"
