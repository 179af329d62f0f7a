"""Memory that a process has freed and still holds."""

import contextlib
import ctypes


def give_back_freed_memory() -> None:
    """Return freed memory to the system; the C library may keep it otherwise.

    Worth a call after what allocates much and frees it, such as starting values and compilation:
    steps take their memory elsewhere. Does nothing where the C library is not glibc.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
