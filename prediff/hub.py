"""Models by their name on the Hugging Face hub, pinned by revision: hf:OWNER/NAME@REVISION."""

import re
from pathlib import Path

from hpc.errors import UserError

PREFIX = "hf:"
_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)@([0-9a-zA-Z][\w.-]{5,})")


def is_hub_name(text: str) -> bool:
    return text.startswith(PREFIX)


def fetch(name: str) -> Path:
    """Return the folder of a model of the hub, downloaded once.

    Raises:
        UserError: no revision, the library is not there, or the hub cannot be reached.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(
            f"{name} names no model of the hub: hf:OWNER/NAME@REVISION, with the commit, "
            "so that it stays the same model"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(
            f"{name} needs the library huggingface_hub, which is not installed: "
            "`pip install huggingface_hub`, or hand in the folder of an export"
        ) from None
    try:
        return Path(snapshot_download(match[1], revision=match[2]))
    except Exception as error:  # a library's: there are many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{name} cannot be had from the hub: {reason}") from None
