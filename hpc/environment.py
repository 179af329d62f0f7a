"""What must stand in the environment before MindSpore is imported."""

import os
from collections.abc import Mapping, MutableMapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hpc.errors import UserError

NPU_DEVICES = Path(os.environ.get("PREDIFF_NPU_DEVICES", "/dev"))
"""Where the driver shows its devices; tests over a stand-in for CANN show made-up ones."""


def has_npu() -> bool:
    """Return whether this host shows an Ascend device file."""
    return any(NPU_DEVICES.glob("davinci[0-9]*"))


def is_stand_in() -> bool:
    """Return whether tests put a stand-in for CANN in the place of the real one."""
    return os.environ.get("PREDIFF_STANDIN") == "1"


def prepare_environment(environ: MutableMapping[str, str] | None = None) -> None:
    """Set defaults that MindSpore reads when it is imported; what the user set stays.

    - ``GLOG_v=3``: MindSpore prints errors alone. Its warnings are of its own making (hashes of a
      first compilation, operators chosen); GLOG_v=2 brings them back.
    - ``PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python``: MindSpore's generated protobuf code needs
      it, and sets it too late when TensorBoard's writer was imported first.
    - ``OMP_NUM_THREADS``: the cores of this host shared out over its ranks, when a launcher
      started several; of a list (a number per nesting level) the first number, as MindSpore reads
      no lists.
    - ``ONEDNN_MAX_CPU_ISA=AVX2`` for MindSpore 2.9 and later on hosts without NPU: their oneDNN
      otherwise takes a reference path for convolutions, a hundred times slower.
    - ``MS_CPU_COMM_OP_TIMEOUT``: a collective waits for ranks that still compile; the default of
      30 s is less than a compilation.
    """
    environ = os.environ if environ is None else environ
    environ.setdefault("GLOG_v", "3")
    environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    threads = environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if threads.isdigit():
        environ["OMP_NUM_THREADS"] = threads
    elif not threads:
        environ.pop("OMP_NUM_THREADS", None)
    if "MS_ROLE" in environ:
        # Our supervisor has set the threads already; other launchers tell no ranks of a host.
        ranks = environ.get("MS_WORKER_NUM", "1")
        cores = len(os.sched_getaffinity(0))
        share = max(1, cores // int(ranks)) if ranks.isdigit() and int(ranks) else 1
        environ.setdefault("OMP_NUM_THREADS", str(share))
        environ.setdefault("MS_CPU_COMM_OP_TIMEOUT", "600")
    if not has_npu() and _mindspore_version() >= (2, 9):
        environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


def check_threads(environ: Mapping[str, str] | None = None) -> None:
    """Check the user's number of threads, which libraries would read as they like.

    Raises:
        UserError: it is no number.
    """
    environ = os.environ if environ is None else environ
    threads = environ.get("OMP_NUM_THREADS", "1")
    if not threads.isdigit() or int(threads) == 0:
        raise UserError(
            f"OMP_NUM_THREADS={threads!r} is no number of threads: set 1 or more, or unset it"
        )


def _mindspore_version() -> tuple[int, int]:
    try:
        major, minor = version("mindspore").split(".")[:2]
    except PackageNotFoundError:
        return (0, 0)
    return int(major), int(minor)
