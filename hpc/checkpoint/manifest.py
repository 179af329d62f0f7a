"""A checkpoint's manifest: size and SHA-256 of every file, so that nothing damaged is ever used."""

import hashlib
import json
from pathlib import Path

from hpc.errors import UserError

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


class DamagedCheckpointError(UserError):
    """A checkpoint is not what was written."""


def describe_files(folder: Path) -> bytes:
    """Return the manifest of the files in a folder that has none yet."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.iterdir())
    }
    return json.dumps({"files": files}, indent=1).encode()


def verify_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, after comparing all of them with the manifest.

    Raises:
        DamagedCheckpointError: a file is missing, has another size or another content.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        expected = {
            name: (int(entry["size"]), str(entry["sha256"]))
            for name, entry in manifest["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(f"{folder} has no readable manifest ({error})") from None
    for name, (size, sha256) in expected.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size or file_sha256(path) != sha256:
            raise DamagedCheckpointError(f"{path} is not the file that was saved")
    return {name: sha256 for name, (_, sha256) in expected.items()}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
