"""The device and the other ranks: the one file, beside hpc/ops, that knows where it runs."""

import logging
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import mindspore as ms
from mindspore import communication

from hpc.cluster.file_barrier import FileBarrier
from hpc.cluster.gather import gather_in_group
from hpc.cluster.job import barrier_of_job, in_job
from hpc.cluster.mesh import Mesh
from hpc.cluster.process_info import ProcessInfo, discover, is_scheduler
from hpc.environment import has_npu, is_stand_in
from hpc.errors import UserError


@dataclass(frozen=True)
class Runtime:
    """A started process: its device, its place, and what ranks tell each other on the host.

    Collectives are no-ops for one process. Ranks tell each other plain values: numbers, texts,
    arrays.
    """

    place: ProcessInfo
    device: str
    """``CPU`` or ``Ascend``."""
    world_group: str | None
    """The communication group of all ranks, or None for one process."""
    file_barrier: FileBarrier | None = None
    """Where ranks wait before a collective that may find one of them minutes behind."""

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes files and speaks to the user."""
        return self.place.rank == 0

    @property
    def device_name(self) -> str:
        """The device as results name it: what ran over a stand-in must not pass for silicon."""
        return f"{self.device} stand-in, no silicon" if is_stand_in() else self.device

    @property
    def sends_may_wait(self) -> bool:
        """Whether a point-to-point send may wait for its receive, as HCCL's may."""
        return self.device != "CPU"

    @property
    def moves_parts(self) -> bool:
        """Whether graphs can reduce-scatter and all-gather in any group.

        On the CPU there is no reduce-scatter, and all-gather works among all ranks only.
        """
        return self.device != "CPU"

    @property
    def compiles_alone(self) -> bool:
        """Whether a rank can compile a graph with collectives while the others wait.

        True on CPU. On NPUs compiling may set up communicators, which needs all ranks at once; not
        yet tried on hardware.
        """
        return self.device == "CPU"

    def barrier(self) -> None:
        """Wait until every rank is here, however long it takes."""
        if self.file_barrier is not None:
            self.file_barrier.wait()
        if self.world_group is not None:
            ms.mint.distributed.barrier(group=self.world_group)

    def all_gather_object(self, value: Any) -> list[Any]:
        """Return every rank's plain value, in rank order; see `hpc.cluster.messages.encode`."""
        if self.world_group is None:
            return [value]
        if self.file_barrier is not None:
            self.file_barrier.wait()
        return gather_in_group(value, group=self.world_group, size=self.place.size)

    def broadcast_object(self, value: Any, *, source: int = 0) -> Any:
        """Return the source rank's value."""
        return self.all_gather_object(value if self.place.rank == source else None)[source]

    def require_same(self, what: str, value: Any) -> None:
        """Check that all ranks were started alike.

        Raises:
            UserError: some ranks hold another `value` than rank 0, such as a digest of the
                configuration or the versions of the software; raised on every rank.
        """
        values = self.all_gather_object((self.place.host, value))
        first = values[0][1]
        others = [f"rank {r} on {h}: {v}" for r, (h, v) in enumerate(values) if v != first]
        if others:
            raise UserError(
                f"{what} differs between ranks: rank 0 on {values[0][0]}: {first}; "
                f"{'; '.join(others[:4])}: start every rank with the same software and arguments"
            )

    def data_group(self, mesh: Mesh) -> str | None:
        """Return the group that averages this rank's gradients, or None if it is alone."""
        return self.make_group("data", mesh.data_group(self.place.rank))

    def pipeline_group(self, mesh: Mesh) -> str | None:
        """Return the group of this rank's pipeline, or None if it has one stage."""
        return self.make_group("pipeline", mesh.pipeline_group(self.place.rank))

    def data_pairs(self, mesh: Mesh) -> tuple[str, ...]:
        """Return this rank's groups with the data ranks at distance 1, 2, 4, ...

        For a power of two of data ranks; the pairs of the first two are one group, and so on, so
        that sums over one distance after the other are sums over all.
        """
        ranks = mesh.data_group(self.place.rank)
        own = ranks.index(self.place.rank)
        assert len(ranks).bit_count() == 1, ranks
        groups = []
        for distance in (1 << bit for bit in range(len(ranks).bit_length() - 1)):
            pair = sorted((ranks[own], ranks[own ^ distance]))
            group = self.make_group("pair", pair)
            assert group is not None
            groups.append(group)
        return tuple(groups)

    def make_group(self, axis: str, ranks: Sequence[int]) -> str | None:
        """Return a group of some ranks, which all call this, or None for one rank.

        The groups that divide an axis have one name on the CPU, so that their graphs are one graph,
        which only one rank compiles. For NPUs each has a name of its own: whether HCCL would keep
        them apart is not known.

        Args:
            axis: of the mesh, or what else tells groups apart that share a rank.
            ranks: in order.
        """
        if len(ranks) == 1:
            return None
        if len(ranks) == self.place.size:
            return self.world_group
        told = (
            [after - before for before, after in pairwise(ranks)] if self.device == "CPU" else ranks
        )
        name = f"{axis}_{'_'.join(map(str, told))}"
        communication.create_group(name, list(ranks))
        return name

    def close(self) -> None:
        """Wait for all ranks: msrun takes a rank that ends early for a failure.

        The second barrier is for the slowest rank, which may still be inside the collective when
        the others leave it: if they ended then, it would wait for them forever.
        """
        self.barrier()
        if self.file_barrier is not None:
            self.file_barrier.wait()

    def __enter__(self) -> "Runtime":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()


ALONE = Runtime(place=ProcessInfo(), device="CPU", world_group=None)
"""One process."""


def start_runtime(*, device: str = "auto") -> Runtime:
    """Choose the device, compile graphs, and meet the other ranks.

    Call it before anything else that a rank does: in the scheduler process that msrun starts beside
    the ranks it does not return.

    Args:
        device: ``auto`` (the NPU if there is one), ``cpu`` or ``npu``.

    Raises:
        UserError: the device is unknown or not there.
    """
    if device not in ("auto", "cpu", "npu"):
        raise UserError(f"device {device!r} is unknown: use auto, cpu or npu")
    if device == "npu" and not has_npu():
        raise UserError("no NPU on this host (/dev/davinci*): use device cpu or auto")
    target = "Ascend" if device != "cpu" and has_npu() else "CPU"
    place = discover()
    if is_scheduler():
        ms.set_device("CPU")
        communication.init()
        sys.exit(0)
    if target == "Ascend":
        ms.set_device("Ascend", place.local_rank)
    elif place.has_collectives or ms.get_context("device_target") != "CPU":
        ms.set_device("CPU")  # refused once a kernel has run, which a test or a notebook may have
    logging.getLogger(f"ME.mindspore.log.{os.getpid()}").addFilter(_is_news)
    ms.set_context(mode=ms.GRAPH_MODE)
    if not place.has_collectives or place.size == 1:
        return Runtime(place=place, device=target, world_group=None)
    if not in_job():
        _require_scheduler(os.environ)
    communication.init()
    assert communication.get_rank() == place.rank, "the launcher's rank is not MindSpore's"
    return Runtime(
        place=place,
        device=target,
        world_group=communication.GlobalComm.WORLD_COMM_GROUP,
        file_barrier=barrier_of_job(rank=place.rank, size=place.size),
    )


SCHEDULER_SECONDS = 30.0
"""How long a rank looks for the scheduler; both have loaded MindSpore by then."""


def _require_scheduler(environ: Mapping[str, str]) -> None:
    """Check that the scheduler that a launcher other than ours names is there.

    Raises:
        UserError: nobody listens: the variables are left over from another job.
    """
    host, port = environ.get("MS_SCHED_HOST", ""), environ.get("MS_SCHED_PORT", "")
    if not host or not port.isdigit():
        return
    deadline = time.monotonic() + SCHEDULER_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"MS_ROLE={environ.get('MS_ROLE')} makes this process a rank, and its "
                    f"scheduler {host}:{port} is not there ({error}): unset MS_ROLE if it is left "
                    "over, or start with msrun"
                ) from None
            time.sleep(1)


_NO_NEWS = ("CPU device is not supported", "'enable_compile_cache' will be deprecated")
"""MindSpore's own collectives synchronise a "stream" that a CPU has not; and
hpc/train/compile_cache.py switches the cache on and off, which the environment variable that it
should use instead cannot."""


def _is_news(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(text in message for text in _NO_NEWS)
