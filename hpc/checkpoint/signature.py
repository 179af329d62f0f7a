"""Who made a file: signatures with SSH keys, made and checked by ``ssh-keygen -Y``.

A SHA-256 tells damage; whoever replaces a file can replace its digest too. A signature over the
digest says whose key made it, to a reader who has that key from elsewhere.
"""

import shutil
import subprocess
from pathlib import Path

from hpc.errors import UserError, one_line

SUFFIX = ".sig"
NAMESPACE = "prediff-model"
"""A signature for one purpose is none for another."""
_SECONDS = 120


def signature_of(file: Path) -> Path:
    """Return where the signature of a file lies."""
    return file.with_name(file.name + SUFFIX)


def sign(file: Path, *, key: Path) -> Path:
    """Sign a file and return the signature's path.

    Args:
        key: a private SSH key, or the public one of a key that the SSH agent holds.

    Raises:
        UserError: no ssh-keygen, no such key, or it asks for a passphrase that nobody gives.
    """
    if not key.is_file():
        raise UserError(f"no key at {key}: make one with `ssh-keygen -t ed25519`")
    _run(["-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(file)], what=f"{file} is not signed")
    return signature_of(file)


def verify(file: Path, *, signers: Path) -> str:
    """Return the name of who signed a file, as a list of trusted keys calls them.

    Args:
        signers: lines of a name and a public key, ssh-keygen's ALLOWED SIGNERS format.

    Raises:
        UserError: no signature, one of a key that is not in the list, or of other bytes.
    """
    signature = signature_of(file)
    if not signers.is_file():
        raise UserError(f"no list of trusted keys at {signers}: a line is `NAME ssh-ed25519 KEY`")
    if not signature.is_file():
        raise UserError(f"{file} is not signed: ask for a signed model, or leave --signers out")
    foreign = f"{file} is not signed by a key of {signers}"
    words = ["-s", str(signature), "-f", str(signers)]
    said = _run(["-Y", "find-principals", *words], what=foreign).splitlines()
    if not said:
        raise UserError(foreign)
    check = ["-Y", "verify", *words, "-I", said[0], "-n", NAMESPACE]
    _run(check, what=f"{file} was changed after {said[0]} signed it", content=file.read_bytes())
    return said[0]


def _run(words: list[str], *, what: str, content: bytes | None = None) -> str:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise UserError("ssh-keygen is not on PATH: install OpenSSH 8.1 or later")
    try:
        done = subprocess.run(
            [program, *words],
            input=content,
            stdin=subprocess.DEVNULL if content is None else None,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{what}: ssh-keygen said nothing for {_SECONDS} s") from None
    if done.returncode:
        reason = one_line((done.stderr or done.stdout).decode(errors="replace").strip())
        raise UserError(f"{what} ({reason[:200]})")
    return done.stdout.decode(errors="replace")
