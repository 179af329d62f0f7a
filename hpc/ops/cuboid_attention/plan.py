"""Can the Ascend C kernels take a geometry? Their own plan is asked, before a graph is built."""

import ctypes
from functools import cache
from pathlib import Path

from hpc.ops.cuboid_attention.geometry import CuboidGeometry, relative_position_count
from hpc.ops.native.library import CPU_SOURCES, build_library

HERE = Path(__file__).parent
KERNEL_FOLDERS = [HERE, HERE / "op_kernel", HERE / "op_host", CPU_SOURCES]
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared")
CORES_910B2 = 48


@cache
def _plan_library() -> ctypes.CDLL:
    path = build_library(
        name="cuboid-attention-plan",
        sources=[HERE / "cpu" / "plan_check.cpp"],
        include=KERNEL_FOLDERS,
        flags=FLAGS,
    )
    library = ctypes.CDLL(str(path))
    library.CuboidAttentionPlanError.restype = ctypes.c_char_p
    return library


def plan_error(
    geometry: CuboidGeometry,
    *,
    heads: int,
    width: int,
    element_bytes: int = 4,
    dropout: bool = True,
    cores: int = CORES_910B2,
) -> str | None:
    """Return why the kernels cannot take this geometry, or None where they can.

    Raises LibraryUnavailable where the arithmetic of the plan cannot be built.
    """
    values = (
        1,
        *geometry.grid,
        *geometry.cuboid_size,
        *geometry.shift_size,
        *(kind == "d" for kind in geometry.strategy),
        heads,
        width,
        relative_position_count(geometry.built_size),
        element_bytes,
        geometry.mask is not None,
        dropout,
        cores,
    )
    error = _plan_library().CuboidAttentionPlanError((ctypes.c_int * len(values))(*values))
    return error.decode() or None
