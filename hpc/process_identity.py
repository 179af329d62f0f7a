"""Which process wrote this, and does it still live? A number alone is soon another process's."""

import hashlib
import os
import socket
from pathlib import Path


def process_namespace() -> str:
    """Name what process numbers are relative to: this boot of the host, and the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return "unknown"


def start_time(pid: int) -> int | None:
    """Return when a process of this host started, in clock ticks since boot; None if none such."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def process_tag() -> str:
    """Return ``PLACE-PID-START`` of this process, for names of files; see `tag_is_alive`."""
    return f"{_place()}-{os.getpid()}-{start_time(os.getpid()) or 0}"


def tag_is_alive(tag: str) -> bool | None:
    """Tell whether the process of a `process_tag` runs; None where one cannot look from here."""
    place, pid, started = tag.split("-")
    if place != _place():
        return None
    return (start_time(int(pid)) or 0) == int(started)


def _place() -> str:
    text = f"{socket.gethostname()} {process_namespace()}"
    return hashlib.sha256(text.encode()).hexdigest()[:10]
