"""Every function that a kernel reaches is marked __aicore__, which our host compiler cannot see.

clang reads the kernels as CUDA: __aicore__ stands for host and device, so that a function of
op_kernel without the mark is one of the host alone, which a kernel must not call. The emulator's
headers call much of the host; what counts is functions of op_kernel. Skipped without clang-19.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hpc.ops.cuboid_attention import op

HERE = Path(__file__).parent
SOURCES = Path(op.__file__).parent
CPU = SOURCES.parent / "native" / "cpu"
KERNELS = ("cuboid_attention", "cuboid_attention_grad")
WRAPPER = """
#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>
#pragma clang force_cuda_host_device begin
#include "kernel_operator.h"
#include "run.h"
#pragma clang force_cuda_host_device end
#undef __aicore__
#undef __global__
#define __aicore__ __attribute__((host)) __attribute__((device))
#define __global__
#define DTYPE_QKV half
#include "KERNEL.cpp"
template <class... A>
__attribute__((device)) void call(void (*kernel)(A...)) { kernel(A()...); }
__attribute__((global)) void reach() { call(KERNEL); }
"""
pytestmark = pytest.mark.skipif(shutil.which("clang-19") is None, reason="clang-19 is not here")


def unmarked(folder: Path, kernel: str, scratch: Path) -> set[str]:
    """Return the functions of a folder that the kernel reaches and that lack the mark."""
    source = scratch / f"{kernel}_marks.cpp"
    source.write_text(WRAPPER.replace("KERNEL", kernel))
    places = [HERE / "emulator", folder, SOURCES / "op_host", SOURCES / "cpu", SOURCES, CPU]
    include = [word for place in places for word in ("-I", str(place))]
    marks = [f"-D__{side}__=__attribute__(({side}))" for side in ("host", "device")]
    done = subprocess.run(
        ["clang-19", "-x", "cuda", "--cuda-device-only", "-nocudainc", "-nocudalib",
         "-fsyntax-only", "-ferror-limit=0", "-std=c++17", *marks, *include, str(source)],
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert "fatal error" not in done.stderr, done.stderr[-2000:]
    assert "reference to __host__ function" in done.stderr, "the emulator calls the host somewhere"
    pattern = rf"(?m)^{re.escape(str(folder))}/\S+: note: '(\w+)[^']*' declared here"
    return set(re.findall(pattern, done.stderr))


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_function_that_a_kernel_reaches_is_marked(kernel, tmp_path):
    assert unmarked(SOURCES / "op_kernel", kernel, tmp_path) == set()


def test_a_function_without_the_mark_is_found(tmp_path):
    folder = shutil.copytree(SOURCES / "op_kernel", tmp_path / "op_kernel")
    rows = folder / "cuboid_attention_rows.h"
    marked = "__aicore__ inline uint32_t Least("
    text = rows.read_text()
    assert marked in text
    rows.write_text(text.replace(marked, "inline uint32_t Least("))
    assert "Least" in unmarked(folder, "cuboid_attention", tmp_path)
