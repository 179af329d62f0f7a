"""The stand-in driven directly, without MindSpore: what a program on an NPU would call, by ctypes.

For tests of the stand-in itself. One `Device` belongs to one process (`run_python` starts one).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from standin import environment

FLOAT, HALF = 0, 1
ND = 2


class Device:
    """A device of the stand-in, found through the environment that `standin.environment` made."""

    def __init__(self) -> None:
        self.lib = ctypes.CDLL(f"{os.environ['ASCEND_HOME_PATH']}/lib64/libascendcl.so")
        for name in ("aclCreateTensor", "aclCreateScalar", "aclGetRecentErrMsg"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.lib.aclrtSetDevice(0)

    def malloc(self, size: int) -> ctypes.c_void_p:
        pointer = ctypes.c_void_p()
        code = self.lib.aclrtMalloc(ctypes.byref(pointer), ctypes.c_size_t(size), 0)
        if code:
            raise MemoryError(f"code {code}: {self.last_error()}")
        return pointer

    def free(self, pointer: ctypes.c_void_p) -> int:
        return self.lib.aclrtFree(pointer)

    def last_error(self) -> str:
        return ctypes.string_at(self.lib.aclGetRecentErrMsg()).decode()

    def put(self, values: np.ndarray) -> ctypes.c_void_p:
        """Copy an array to fresh device memory."""
        pointer = self.malloc(values.nbytes)
        size = ctypes.c_size_t(values.nbytes)
        self.lib.aclrtMemcpy(pointer, size, values.ctypes.data_as(ctypes.c_void_p), size, 1)
        return pointer

    def get(self, pointer: ctypes.c_void_p, like: np.ndarray) -> np.ndarray:
        """Copy an array of a shape and type from the device."""
        found = np.empty_like(like)
        size = ctypes.c_size_t(found.nbytes)
        self.lib.aclrtMemcpy(found.ctypes.data_as(ctypes.c_void_p), size, pointer, size, 2)
        return found

    def tensor(self, pointer: object, shape: tuple[int, ...], kind: int = FLOAT) -> ctypes.c_void_p:
        sizes = (ctypes.c_int64 * len(shape))(*shape)
        return ctypes.c_void_p(
            self.lib.aclCreateTensor(
                sizes,
                ctypes.c_uint64(len(shape)),
                kind,
                None,
                ctypes.c_int64(0),
                ND,
                sizes,
                ctypes.c_uint64(len(shape)),
                pointer,
            )
        )

    def scalar(self, value: float) -> ctypes.c_void_p:
        return ctypes.c_void_p(
            self.lib.aclCreateScalar(ctypes.byref(ctypes.c_float(value)), ctypes.c_int(FLOAT))
        )

    def stream(self) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        self.lib.aclrtCreateStream(ctypes.byref(made))
        return made

    def event(self) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        self.lib.aclrtCreateEvent(ctypes.byref(made))
        return made

    def launch(self, operator: str, *arguments: object, stream: ctypes.c_void_p) -> int:
        """Launch an aclnn operator by name."""
        workspace, executor = ctypes.c_uint64(), ctypes.c_void_p()
        code = getattr(self.lib, f"aclnn{operator}GetWorkspaceSize")(
            *arguments, ctypes.byref(workspace), ctypes.byref(executor)
        )
        return code or getattr(self.lib, f"aclnn{operator}")(
            None, ctypes.c_uint64(0), executor, stream
        )

    def synchronize(self, stream: ctypes.c_void_p) -> int:
        return self.lib.aclrtSynchronizeStream(stream)

    def join(self, board: Path, *, ranks: int, rank: int) -> ctypes.c_void_p:
        """Become a rank of a communicator whose folder, made by the test, is the root's name."""
        root = ctypes.create_string_buffer(str(board).encode(), 4108)
        comm = ctypes.c_void_p()
        code = self.lib.HcclCommInitRootInfo(ranks, root, rank, ctypes.byref(comm))
        if code:
            raise RuntimeError(f"HCCL code {code}: {self.last_error()}")
        return comm


def start_python(root: Path, program: str, *arguments: str, rank: int = 0, **options: object):
    """Start a program in a process of its own over the stand-in; it may import this module."""
    env = environment(root, **options)
    env["RANK_ID"] = str(rank)
    env["PYTHONPATH"] = f"{Path(__file__).parent}:{env['PYTHONPATH']}"
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_python(root: Path, program: str, *arguments: str, **options: object) -> tuple[int, str]:
    """Run a program over the stand-in; return its exit code and all that it printed."""
    process = start_python(root, program, *arguments, **options)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said
