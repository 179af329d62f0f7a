"""The ranks of a builder: MPI processes, processes of another launcher, or just this one.

A builder needs little of its ranks: who am I of how many, one value from rank 0 to all, and a
barrier at the end. Work is divided by rule (`rank::size`) and progress travels in files, so ranks
that cannot talk to each other (Slurm without an MPI plugin, msrun) build as well.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from hpc.cluster.process_info import discover
from hpc.errors import UserError

_POLL = 0.2  # seconds; MPI's own waiting would take a whole core from ranks that still compute


class Ranks(Protocol):
    """The processes that build together."""

    rank: int
    size: int

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value on every rank; each rank's own where ranks cannot talk."""

    def barrier(self, while_waiting: Callable[[], None] | None = None) -> None:
        """Wait for all ranks, now and then calling ``while_waiting``."""


class SeparateRanks:
    """Ranks that cannot talk to each other; one rank of one by default.

    Args:
        rank, size: who am I of how many.

    Raises:
        UserError: the rank is not one of ``size``.
    """

    def __init__(self, *, rank: int = 0, size: int = 1) -> None:
        if not 0 <= rank < size:
            raise UserError(f"rank {rank} of {size} ranks: ranks go from 0 to {size - 1}")
        self.rank = rank
        self.size = size

    def broadcast(self, value: Any) -> Any:
        return value

    def barrier(self, while_waiting: Callable[[], None] | None = None) -> None:
        pass


class MpiRanks:
    """Ranks over an MPI communicator (mpi4py's)."""

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator
        self.rank = communicator.Get_rank()
        self.size = communicator.Get_size()

    def broadcast(self, value: Any) -> Any:
        return self._communicator.bcast(value, root=0)

    def barrier(self, while_waiting: Callable[[], None] | None = None) -> None:
        request = self._communicator.Ibarrier()
        while not request.Test():
            if while_waiting:
                while_waiting()
            time.sleep(_POLL)

    def abort(self, exit_code: int) -> None:
        """End all ranks, at once."""
        self._communicator.Abort(exit_code)


@contextmanager
def started_ranks(*, rank: int | None = None, size: int | None = None) -> Iterator[Ranks]:
    """Yield the ranks that the launcher started.

    Args:
        rank, size: given by a launcher that is not MPI, such as msrun. Without them MPI is used
            if its launcher started this process, else Slurm's numbers inside a job step, else
            there is one rank. A missing MPI library is no error: the launcher's numbers do.

    Under MPI an exception on one rank ends all of them, after its message (one line for a
    `UserError`, exit code 2) or trace (exit code 1); without that, the others would wait forever.
    Start as ``mpirun -n N python -m mpi4py ...`` all the same: that covers errors outside, too.
    """
    if rank is not None and size is not None:
        yield SeparateRanks(rank=rank, size=size)
        return
    ranks = _ranks_of_launcher()
    if not isinstance(ranks, MpiRanks) or ranks.size == 1:
        yield ranks
        return
    try:
        yield ranks
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (0, None):
            raise
        ranks.abort(_say_why(error, ranks.rank))
        raise


def _say_why(error: BaseException, rank: int) -> int:
    """Print the error as its reader needs it; return the exit code."""
    if isinstance(error, UserError):
        print(f"error on rank {rank}: {error}", file=sys.stderr)
        code = 2
    elif isinstance(error, KeyboardInterrupt):
        print(f"rank {rank} was interrupted; finished shards are kept", file=sys.stderr)
        code = 130
    elif isinstance(error, SystemExit):  # whoever exits has said why
        code = error.code if isinstance(error.code, int) else 1
    else:
        traceback.print_exception(error)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _ranks_of_launcher() -> Ranks:
    place = discover()
    if place.launcher == "mpi":
        communicator = _world_communicator()
        # A library of another MPI than the launcher's finds one rank only.
        if communicator is not None and communicator.Get_size() >= place.size:
            return MpiRanks(communicator)
    return SeparateRanks(rank=place.rank, size=place.size)


def _world_communicator() -> Any | None:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):  # no MPI library on this host
        return None
    return MPI.COMM_WORLD
