"""The lock for "somebody is building this": who builds now, how far each rank is, who is dead.

Each rank of a builder keeps a small file in a folder of what is built, created exclusively, and
counts it up every two seconds. A second builder that finds one refuses while its owner lives, and
takes over when the owner is dead:

- on the same host (same boot, same process namespace), dead means that no process has that number
  and start time: decided at once;
- on another host, dead means that the count stood still for `PATIENCE` seconds of the *observer's*
  clock. Nothing compares clocks of two hosts, and no lock daemon of a network file system is
  needed (`flock` is local on some of them).

An owner that finds its file replaced (it was suspended and thought dead) stops before it publishes
more. The signs only save double work: two builders may not see each other for a moment (caches of
a network file system), so what is built must appear whole, by rename, and be checked by its sums.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from hpc.errors import UserError
from hpc.process_identity import process_namespace, start_time

BEAT = 2.0  # seconds between two signs
PATIENCE = 60.0  # compiling a large graph may hold Python's lock, and the sign with it, for a while
_BYTES = 512


@dataclass(frozen=True, kw_only=True)
class Builder:
    """What a sign of life tells: the process, its place among the ranks, and its progress."""

    host: str
    namespace: str
    pid: int
    started: int
    rank: int
    world: int
    beat: int
    progress: int

    def describe(self) -> str:
        return f"process {self.pid} on host {self.host} (rank {self.rank} of {self.world})"


class BuildLease:
    """This rank's sign, kept while the context is open.

    Args:
        folder: inside what is built; it exists and is for such signs, among others.
        rank, world: this process's place among those of its builder.

    Raises (on entering):
        UserError: another builder is at work here; the line names its process and host.
    """

    def __init__(self, folder: Path, *, rank: int, world: int) -> None:
        self._folder = folder
        self._file = _sign_file(self._folder, rank=rank, world=world)
        self._me = _this_process(rank=rank, world=world)
        self._lock = threading.Lock()
        self._descriptor = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True, name="sign-of-life")

    def __enter__(self) -> Self:
        while not self._create():
            _bury_the_dead(self._folder, [self._file])
        try:
            _bury_the_dead(self._folder, self._other_builders())
        except BaseException:
            self._remove()
            raise
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self._remove()

    def report(self, *, progress: int) -> None:
        """Tell how much of the part that is being built is done, in whatever unit."""
        self._me = replace(self._me, progress=progress)

    def check_still_mine(self) -> None:
        """Refuse to go on when another builder took this one for dead.

        Raises:
            UserError: the sign is gone or belongs to somebody else.
        """
        if not self._is_mine():
            raise UserError(
                f"another builder took over {self._folder.parent} while this one "
                f"({self._me.describe()}) was not responding: leave the work to that one"
            )

    def _create(self) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._file, flags, 0o644)
        except FileExistsError:
            return False
        try:
            self._beat()
        except BaseException:
            self._remove()
            raise
        return True

    def _other_builders(self) -> list[Path]:
        """Signs of builders with another number of ranks: not of this job."""
        mine = _sign_file(self._folder, rank=0, world=self._me.world).name.split("_of_")[1]
        return [file for file in self._folder.glob("builder_*") if not file.name.endswith(mine)]

    def _is_mine(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._file), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _remove(self) -> None:
        if self._is_mine():
            with suppress(FileNotFoundError):
                self._file.unlink()
        os.close(self._descriptor)

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT):
            with suppress(OSError):  # a sign that could not be given is one that was not given
                self._beat()

    def _beat(self) -> None:
        # In place, one write of a fixed length: on a network file system a file that is replaced
        # may be seen late, one that is rewritten is seen by the next open.
        self._me = replace(self._me, beat=self._me.beat + 1)
        os.pwrite(self._descriptor, json.dumps(asdict(self._me)).ljust(_BYTES).encode(), 0)
        os.fsync(self._descriptor)


def builders_at_work(folder: Path) -> list[Builder]:
    """Return the builders whose signs are in a folder, dead ones of this host left out."""
    builders = []
    for file in sorted(folder.glob("builder_*")):
        builder = _read_sign(file)
        if builder is not None and _is_alive(builder) is not False:
            builders.append(builder)
    return builders


def _sign_file(folder: Path, *, rank: int, world: int) -> Path:
    return folder / f"builder_{rank:04d}_of_{world:04d}"


def _bury_the_dead(folder: Path, files: list[Path]) -> None:
    """Delete the signs of the dead; wait and see where only time can tell.

    Raises:
        UserError: one of them lives.
    """
    first = {file: _read_sign(file) for file in files if file.exists()}
    unknown = {}
    for file, builder in first.items():
        alive = None if builder is None else _is_alive(builder)
        if alive:
            raise _refusal(folder, builder)
        if alive is None:
            unknown[file] = builder
    deadline = time.monotonic() + PATIENCE
    while unknown and time.monotonic() < deadline:
        time.sleep(min(BEAT, PATIENCE / 4))
        unknown = {file: before for file, before in unknown.items() if file.exists()}
        for file, before in unknown.items():
            now = _read_sign(file)
            if now is not None and now != before:
                raise _refusal(folder, now)
    for file, builder in first.items():
        if _read_sign(file) == builder:  # nobody else was quicker
            file.unlink(missing_ok=True)


def _refusal(folder: Path, builder: Builder | None) -> UserError:
    who = builder.describe() if builder else "a process that is just starting"
    return UserError(
        f"another builder is at work in {folder.parent}: {who}. Wait for it, or stop it and run "
        "this command again"
    )


def _read_sign(file: Path) -> Builder | None:
    """Return None for a sign that is gone or was not written yet."""
    try:
        return Builder(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _is_alive(builder: Builder) -> bool | None:
    """Return None when the process belongs to another host, where one cannot look."""
    if builder.host != socket.gethostname() or builder.namespace != process_namespace():
        return None
    return start_time(builder.pid) == builder.started


def _this_process(*, rank: int, world: int) -> Builder:
    started = start_time(os.getpid())
    return Builder(
        host=socket.gethostname(),
        namespace=process_namespace(),
        pid=os.getpid(),
        started=-1 if started is None else started,
        rank=rank,
        world=world,
        beat=0,
        progress=0,
    )
