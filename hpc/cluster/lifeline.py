"""Processes that end with the one that started them, however that one ends.

The kernel sends a signal when a parent dies (``PR_SET_PDEATHSIG``), but not to grandchildren, and
not to a child that asks for it too late. So a rank also watches the supervisor of its host itself.
"""

import ctypes
import os
import select
import signal
import threading
import time
from contextlib import suppress

from hpc.process_identity import tag_is_alive

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_POLL_SECONDS = 2.0


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends; for a child before it runs."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_parent() -> None:
    """Ask the kernel to send SIGTERM to this process when its parent ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def die_with(tag: str) -> None:
    """End this process and its group at once when another one of this host has ended.

    Args:
        tag: the other's `hpc.process_identity.process_tag`; if it has ended already, so does this
            process, now.
    """
    descriptor = None
    with suppress(OSError):  # an old kernel: poll
        descriptor = os.pidfd_open(int(tag.split("-")[1]))
    if not tag_is_alive(tag):
        _end()
    threading.Thread(target=_watch, args=(tag, descriptor), daemon=True, name="lifeline").start()


def _watch(tag: str, descriptor: int | None) -> None:
    if descriptor is None:
        while tag_is_alive(tag):
            time.sleep(_POLL_SECONDS)
    else:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
    _end()


def _end() -> None:
    if os.getpgrp() == os.getpid():  # what this process has started goes along
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
