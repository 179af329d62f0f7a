"""Compile one rank's step of MindSpore's own pipeline as far as that goes without an NPU.

    python tests/prediff/training/mindspore_front_end.py RANK STAGES

MindSpore's front end cuts the graph by stages and orders it before the compiler asks for a device;
there this ends. Printed as JSON, of training and of evaluation: the rank's messages in order, and
the parameters whose gradients it accumulates.
"""

import ctypes
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

RANK, STAGES = int(sys.argv[1]), int(sys.argv[2])
GRAPHS = Path(tempfile.mkdtemp())
os.environ |= {"MS_DEV_SAVE_GRAPHS": "1", "MS_DEV_SAVE_GRAPHS_PATH": str(GRAPHS)}
os.chdir(GRAPHS)  # the compiler writes here as well when it fails

import mindspore as ms  # noqa: E402
from mindspore._c_expression import MSContext, ms_ctx_param  # noqa: E402
from test_pipelined_loss import batch, make_loss  # noqa: E402

from hpc.cluster.mesh import Mesh  # noqa: E402
from hpc.cluster.process_info import ProcessInfo  # noqa: E402
from hpc.cluster.runtime import Runtime  # noqa: E402
from hpc.ops.native.library import build_library  # noqa: E402
from hpc.pipeline.mindspore import MindSporeEngine  # noqa: E402
from prediff.diffusion.pipelined_loss import chunks_in_a_row  # noqa: E402

DROPOUTS = (
    "attention_dropout",
    "projection_dropout",
    "feed_forward_dropout",
    "time_block_dropout",
)
MESSAGE = re.compile(
    r"= (Send|Receive)\(.*?shape: \[([\d, ]+)\].*?(?:dest|src)_rank: I64\((\d+)\)"
    r".*?sr_tag: I64\((\d+)\)"
)
ACCUMULATED = re.compile(r"AssignAdd\(%para\d+_(accu_grads\.[\w.]+)")


def pretend_ascend() -> None:
    """Make the compiler's front end take this process for a rank with an NPU."""
    package = Path(ms.__file__).parent
    library = build_library(
        name="as_ascend",
        sources=[Path(__file__).with_name("as_ascend.cpp")],
        include=[package / "include/mindspore/ccsrc", package / "include"],
        flags=(
            *("-shared", "-fPIC", "-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=0"),
            *("-Wl,--no-as-needed", f"-L{package / 'lib'}", f"-Wl,-rpath,{package / 'lib'}"),
            *("-l:libmindspore_core.so", "-l:libmindspore_common.so"),
        ),
    )
    ctypes.CDLL(str(library)).as_ascend(RANK, STAGES)
    MSContext.get_instance().set_param(ms_ctx_param.device_target, "Ascend")
    known = ms.get_context
    ms.get_context = lambda key: "Ascend" if key == "device_target" else known(key)


def make_engine() -> MindSporeEngine:
    """Return the engine of this rank."""
    # With dropout it compiles twice as long.
    loss = partial(make_loss, **dict.fromkeys(DROPOUTS, 0.0))
    engine = MindSporeEngine(
        chunks_in_a_row(loss, stages=STAGES, costs=[3.0, 1.0, 1.0, 1.0]),
        runtime=Runtime(
            place=ProcessInfo(rank=RANK, size=STAGES, launcher="msrun", has_collectives=True),
            device="Ascend",
            world_group="hccl_world_group",
        ),
        mesh=Mesh(pipeline=STAGES),
        micro_batches=STAGES,
    )
    for network in (engine._train, engine._look):
        network._global_rank, network._device_num = RANK, STAGES
    return engine


def compile_without_device(compile_: Callable[..., None]) -> dict:
    """Return (messages, accumulated) of the graph that the front end hands on."""
    try:
        compile_(*batch(), compiler=ms.nn.Cell.compile)
    except RuntimeError as error:
        if "Create device context failed" not in str(error):
            raise
    ms.context.reset_auto_parallel_context()  # which a compilation that ends so leaves behind
    last = max(GRAPHS.rglob("*.ir"), key=lambda path: path.stat().st_mtime_ns).read_text()
    messages = [
        (kind, [int(n) for n in shape.split(",")], int(peer), int(tag))
        for kind, shape, peer, tag in MESSAGE.findall(last)
    ]
    accumulated = sorted({name.removeprefix("accu_grads.") for name in ACCUMULATED.findall(last)})
    return {"messages": messages, "accumulated": accumulated}


def main() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    pretend_ascend()
    engine = make_engine()
    found = {
        "train": compile_without_device(engine.compile),
        "evaluate": compile_without_device(engine.compile_evaluation),
        "held": sorted(p.name for held in engine.held.values() for p in held.values()),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
