"""The folder of one start of a job: what ranks and supervisors leave there for each other.

log/start_0042/
  rank_N.log        all that rank N printed
  rank_N.exit       the code with which it ended
  rank_N.heartbeat  its step, and when it promises the next
  secret            proves that a message between ranks is from this job; its owner reads it
  node_K.sign       node K's supervisor lives; where its ranks are
  ending            a rank has ended: the others should, soon
  end.json          why the job ends, by the first who saw it
"""

import json
import os
import secrets
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hpc.cluster.heartbeat import Position
from hpc.cluster.job import exit_file, scheduler_file, secret_file
from hpc.cluster.rank_log import remove_links
from hpc.cluster.stop import STOPPED_EXIT_CODE
from hpc.cluster.terminal import say
from hpc.durable_files import write_at_once

BAD_INPUT = 2
KEPT_STARTS = 10
PREFIX = "start_"
SECRET_BYTES = 32


@dataclass(frozen=True)
class End:
    """Why a job ended before its time."""

    message: str
    code: int
    rank: int | None
    """Whose fault it was, if it was a rank's."""


@dataclass
class Marks:
    """Reads and writes the marks of one start."""

    folder: Path
    _signs: dict[int, tuple[int, float, dict]] = field(default_factory=dict)

    @classmethod
    def begin(cls, log_dir: Path, *, start: int | None) -> "Marks":
        """Make the folder of a new start; the oldest ones go.

        Args:
            log_dir: of the run.
            start: its number; None is the next one.
        """
        log_dir.mkdir(parents=True, exist_ok=True)
        found = sorted(
            int(path.name.removeprefix(PREFIX))
            for path in log_dir.glob(f"{PREFIX}*")
            if path.name.removeprefix(PREFIX).isdigit()
        )
        number = start if start is not None else max(found, default=0) + 1
        folder = log_dir / f"{PREFIX}{number:04d}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for old in found[: -KEPT_STARTS + 1]:
            shutil.rmtree(log_dir / f"{PREFIX}{old:04d}", ignore_errors=True)
        remove_links(log_dir)
        secret = os.open(secret_file(folder), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(secret, secrets.token_bytes(SECRET_BYTES))
        os.close(secret)
        return cls(folder)

    def new_name(self) -> str:
        """Return a mark for this start's processes."""
        return secrets.token_hex(16)

    def exit_code(self, rank: int) -> int | None:
        """Return the code that a rank recorded; None before it has."""
        try:
            text = exit_file(self.folder, rank).read_text()
        except FileNotFoundError:
            return None
        return int(text) if text else None

    def scheduler(self) -> str | None:
        """Return the process tag of msrun's scheduler; None before it began."""
        try:
            return scheduler_file(self.folder).read_text() or None
        except FileNotFoundError:
            return None

    def announce_ending(self) -> None:
        """Tell all nodes that a rank has ended."""
        (self.folder / "ending").touch()

    def is_ending(self) -> bool:
        """Return whether a rank of any node has ended."""
        return (self.folder / "ending").exists()

    def make_end(self, end: End) -> bool:
        """Leave word of why the job ends; return False if somebody was faster, whose word stays."""
        aside = self.folder / f".{uuid.uuid4().hex}"
        aside.write_text(json.dumps(asdict(end)))
        try:
            os.link(aside, self._end_file)
        except FileExistsError:
            return False
        except OSError:  # no hard links here
            write_at_once(self._end_file, aside.read_bytes())
        finally:
            aside.unlink(missing_ok=True)
        return True

    def end(self) -> End | None:
        """Return why the job ends, if somebody has said so."""
        try:
            return End(**json.loads(self._end_file.read_text()))
        except FileNotFoundError:
            return None

    @property
    def _end_file(self) -> Path:
        return self.folder / "end.json"

    def give_sign(self, node: int, *, host: str, positions: Mapping[int, Position]) -> None:
        """Show the other nodes that this one lives, and where its ranks are."""
        sign = {"host": host, "ranks": {str(rank): where for rank, where in positions.items()}}
        write_at_once(self._sign_file(node), json.dumps(sign))

    def _sign_file(self, node: int) -> Path:
        return self.folder / f"node_{node}.sign"

    def silent_seconds(self, node: int) -> float | None:
        """Return since when a node has given no new sign, by this host's clock; None before one."""
        with suppress(FileNotFoundError, ValueError), self._sign_file(node).open() as file:
            written = os.fstat(file.fileno()).st_mtime_ns
            if node not in self._signs or self._signs[node][0] != written:
                self._signs[node] = (written, time.monotonic(), json.load(file))
        if node not in self._signs:
            return None
        return time.monotonic() - self._signs[node][1]

    def forgive(self, seconds: float) -> None:
        """Do not count seconds in which this host did not look."""
        self._signs = {
            node: (written, seen + seconds, sign)
            for node, (written, seen, sign) in self._signs.items()
        }

    def host(self, node: int) -> str:
        """Return the name of a node that has given a sign."""
        return self._signs[node][2]["host"]

    def positions(self, node: int) -> dict[int, Position]:
        """Return where another node's ranks are, as of now."""
        if node not in self._signs:
            return {}
        _, seen, sign = self._signs[node]
        passed = time.monotonic() - seen
        return {
            int(rank): (step, None if due is None else due - passed)
            for rank, (step, due) in sign["ranks"].items()
        }

    def outcome(self, *, ranks: int) -> int:
        """Return the job's exit code; of a job that failed, the last line says who and why."""
        end = self.end()
        if end is not None:
            if end.code == STOPPED_EXIT_CODE:
                return end.code
            say(f"error: {end.message}; all logs: {self.folder}")
            return end.code if end.code in (BAD_INPUT, 130) else 1
        codes = [self.exit_code(rank) for rank in range(ranks)]
        if STOPPED_EXIT_CODE in codes:
            return STOPPED_EXIT_CODE
        if codes == [0] * ranks:
            return 0
        missing = codes.index(None)
        say(f"error: rank {missing} has ended without a word; all logs: {self.folder}")
        return 1
