"""Shared libraries of native operators, built with g++ on first use.

A library is kept in a cache folder under a name that contains a hash of everything that decides its
content: sources, headers, flags, compiler and instruction set. The processes of a host build one
after the other under a lock that dies with its holder, so the second one finds the library; where a
file system has no locks each builds. A library is there whole or not at all, and what others could
have put there is not loaded.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

from hpc.durable_files import replace_file
from hpc.private_paths import make_private_folder, why_not_ours

CPU_SOURCES = Path(__file__).parent / "cpu"

FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-ffp-contract=fast",
    "-fPIC",
    "-shared",
    "-pthread",
)


class LibraryUnavailable(Exception):
    """The library cannot be had here; the message is one line that says why."""


def cache_folder() -> Path:
    """Return where built libraries are kept: ``$XDG_CACHE_HOME/prediff-hpc``, or below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "prediff-hpc"


@cache
def _instruction_set() -> str:
    """Return the processor's feature list, which ``-march=native`` compiles for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@cache
def _compiler_version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout


def _key(sources: list[Path], headers: list[Path], flags: tuple[str, ...], compiler: str) -> str:
    digest = hashlib.sha256()
    for file in [*sources, *headers]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    for part in (*flags, _compiler_version(compiler), _instruction_set()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def build_library(
    *,
    name: str,
    sources: list[Path],
    include: list[Path],
    flags: tuple[str, ...] = FLAGS,
    folder: Path | None = None,
    compiler: str = "g++",
) -> Path:
    """Return the path of the shared library, building it if the cache has none.

    Args:
        name: first part of the file's name.
        sources: the translation units.
        include: folders whose files they include; a change in any of them is a new library.
        flags: compiler flags.
        folder: cache folder instead of :func:`cache_folder`.
        compiler: the C++ compiler's command.

    Raises:
        LibraryUnavailable: no compiler, a cache folder that cannot be written or that others can
            write, or a failed compilation.
    """
    folder = (folder or cache_folder()).resolve()
    if shutil.which(compiler) is None:
        raise LibraryUnavailable(f"there is no C++ compiler `{compiler}` on the PATH")
    headers = sorted(
        file for directory in include for kind in ("*.h", "*.cpp") for file in directory.glob(kind)
    )
    library = folder / f"{name}-{_key(sources, headers, flags, compiler)}.so"
    if library.exists():
        return _ours(library)
    try:
        make_private_folder(folder)
        lock = os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LibraryUnavailable(f"the cache folder {folder} cannot be written: {error}") from error
    try:
        with suppress(OSError):  # no locks on this file system
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            command = [compiler, *flags, *(f"-I{directory}" for directory in include)]
            _build([*command, *map(str, sources)], library, name=name)
    finally:
        os.close(lock)
    return _ours(library)


def _build(command: list[str], library: Path, *, name: str) -> None:
    folder = library.parent
    try:
        with replace_file(library) as aside:
            # Its own temporary files lie there as well: TMPDIR may be full, or not there.
            result = subprocess.run(
                [*command, "-o", str(aside)],
                capture_output=True,
                text=True,
                env={**os.environ, "TMPDIR": str(folder)},
            )
            if result.returncode != 0:
                first = next((line for line in result.stderr.splitlines() if "error" in line), "")
                raise LibraryUnavailable(f"{command[0]} could not build {name}: {first}")
            aside.chmod(0o755)
    except OSError as error:
        raise LibraryUnavailable(f"the cache folder {folder} cannot be written: {error}") from error


def _ours(library: Path) -> Path:
    """Return a library that nobody else can have put there.

    Raises:
        LibraryUnavailable: somebody can.
    """
    doubt = why_not_ours(library.parent) or why_not_ours(library)
    if doubt:
        raise LibraryUnavailable(
            f"{doubt}: nothing is loaded from there; remove {library.parent}, or name another "
            "folder as XDG_CACHE_HOME"
        )
    return library


@cache
def elementwise_library() -> Path:
    """Return the library of all operators of this folder. Raises LibraryUnavailable."""
    return build_library(
        name="elementwise",
        sources=[
            CPU_SOURCES / f"{part}.cpp"
            for part in (
                "adamw",
                "add_bias",
                "channel_axis",
                "gelu",
                "group_norm",
                "keyed_dropout",
                "layer_norm",
                "sum_of_squares",
            )
        ],
        include=[CPU_SOURCES],
    )
