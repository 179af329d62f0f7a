"""A folder that is handed on: what is in it, with the SHA-256 of each file.

The seal holds its own digest, so no byte of the folder can change unseen. Large files that have a
manifest of their own, such as a checkpoint's, are held by that manifest's digest.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hpc.checkpoint.format import MANIFEST, verify_checkpoint
from hpc.checkpoint.signature import signature_of
from hpc.durable_files import write_durably
from hpc.errors import UserError

SEAL = "model.json"
_FORMAT = 1


def seal_folder(folder: Path, *, facts: Mapping[str, Any]) -> None:
    """Write the seal of all that is in a folder.

    Args:
        facts: anything that JSON can hold, kept beside the digests.
    """
    files = {name: _sha256(folder / name) for name in _held(folder)}
    write_durably(folder / SEAL, _text({"format": _FORMAT, "facts": dict(facts), "files": files}))


def read_seal(folder: Path) -> dict[str, Any]:
    """Return the facts of a sealed folder whose small files are those that were sealed.

    Checkpoints are verified when they are read; `verify_folder` does it at once.

    Raises:
        UserError: a file was changed, is missing or was added, or the seal itself was changed.
    """
    path = folder / SEAL
    try:
        content = path.read_text(encoding="utf-8")
        body = json.loads(content)
        files, facts = dict(body["files"]), dict(body["facts"])
        body.pop("sha256")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no seal of a model ({error}): export it again") from None
    if content != _text(body):
        raise UserError(f"{path} was changed after it was written: get the model again")
    there = set(_held(folder))
    for name in sorted(there | set(files)):
        if name not in there:
            raise UserError(f"{folder} lacks {name}: get the model again")
        if name not in files:
            raise UserError(f"{folder} holds {name}, which is not of the model: remove it")
        if _sha256(folder / name) != files[name]:
            raise UserError(
                f"{folder / name} was changed after the model was exported: get it again"
            )
    return facts


def verify_folder(folder: Path) -> dict[str, Any]:
    """Return the facts of a sealed folder after reading every byte of it.

    Raises:
        UserError: any byte was changed.
    """
    facts = read_seal(folder)
    for manifest in sorted(folder.rglob(MANIFEST)):
        verify_checkpoint(manifest.parent)
    return facts


def _held(folder: Path) -> Iterable[str]:
    """Names of the files whose digests the seal holds.

    All but those that a manifest holds, the seal, and its signature.
    """
    for path in sorted(folder.rglob("*")):
        beside_manifest = path.name != MANIFEST and (path.parent / MANIFEST).exists()
        apart = path in (folder / SEAL, signature_of(folder / SEAL))
        if path.is_file() and not apart and not beside_manifest:
            yield path.relative_to(folder).as_posix()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _text(body: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "sha256": digest}, indent=1, sort_keys=True) + "\n"
