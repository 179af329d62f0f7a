"""What a supervisor shows the user, on a terminal that may be gone or a disk that may be full."""

import os
import sys
from pathlib import Path

OUT, ERROR = 1, 2
TAIL_LINES = 20
TAIL_BYTES = 1 << 18


def show(text: bytes, *, where: int = OUT) -> None:
    """Write to standard output or standard error; once that fails, no more is written there."""
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        while text:
            text = text[os.write(where, text) :]
    except OSError:
        silence(where)


def silence(*descriptors: int) -> None:
    """Let what is written there go nowhere from now on, so that nobody fails for it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def say(line: str) -> None:
    """Show a line on standard error, apart from the log that is shown beside it."""
    show(f"\n{line}\n".encode(), where=ERROR)


def end_of(log: Path) -> str:
    """Return the end of a log, at most `TAIL_BYTES`; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def show_tail(log: Path) -> None:
    """Show the last lines of a log on standard error."""
    lines = end_of(log).splitlines()[-TAIL_LINES:]
    if not lines:
        return
    say(f"the end of {log}:")
    show("".join(f"  {line}\n" for line in lines).encode(), where=ERROR)


class LogFollower:
    """Copies what is new in a growing log to standard output."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0

    def copy(self) -> None:
        """Show what was added since the last call."""
        try:
            with self.path.open("rb") as log:
                log.seek(self.position)
                new = log.read()
        except FileNotFoundError:
            return
        self.position += len(new)
        if new:
            show(new)
