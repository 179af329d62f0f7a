"""The native operators with several threads: the same bits as with one, and alive after a fork."""

import os
import subprocess
import sys

from hpc.ops.native.library import elementwise_library

SCRIPT = """
import ctypes, hashlib, os, sys
import numpy as np

library = ctypes.CDLL(sys.argv[1])

def call(name, arrays):
    count = len(arrays)
    pointer = ctypes.POINTER(ctypes.c_int64)
    shapes = [(ctypes.c_int64 * a.ndim)(*a.shape) for a in arrays]
    assert getattr(library, name)(
        count,
        (ctypes.c_void_p * count)(*[a.ctypes.data for a in arrays]),
        (ctypes.c_int * count)(*[a.ndim for a in arrays]),
        (pointer * count)(*[ctypes.cast(s, pointer) for s in shapes]),
        (ctypes.c_char_p * count)(*[a.dtype.name.encode() for a in arrays]),
        None, None) == 0

rng = np.random.default_rng(0)
x, dy = (rng.normal(size=(2, 333, 48)).astype(np.float32) for _ in range(2))
gamma, beta = (rng.normal(size=48).astype(np.float32) for _ in range(2))
groups, epsilon = np.array([6], np.int32), np.array([1e-5], np.float32)

def digest():
    outputs = [np.empty_like(x), np.empty_like(gamma), np.empty_like(gamma)]
    call("GroupNormSiluGrad", [x, gamma, beta, groups, epsilon, dy, *outputs])
    total = hashlib.sha256(b"".join(o.tobytes() for o in outputs))
    call("LayerNormGrad", [x, gamma, epsilon, dy, *outputs])
    total.update(b"".join(o.tobytes() for o in outputs))
    return total.hexdigest()

for _ in range(50):
    first = digest()
child = os.fork()
if child == 0:
    os._exit(0 if digest() == first else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(first)
"""


def digest(threads: int) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", SCRIPT, str(elementwise_library())]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_the_number_of_threads_changes_no_bit_and_a_forked_child_still_computes():
    one = digest(1)
    assert len(one.strip()) == 64
    assert digest(2) == one
    assert digest(3) == one
