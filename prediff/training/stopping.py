"""How a stage ends before its end, on all ranks at once."""

from typing import TYPE_CHECKING

from hpc.cluster.stop import StopRequest

if TYPE_CHECKING:  # the command line knows `Stopped` and should not load MindSpore for it
    from hpc.cluster.runtime import Runtime


class Stopped(Exception):
    """The run stopped as it was asked to; what was made is whole and the same command continues."""


def raise_if_asked(stop: StopRequest, runtime: "Runtime") -> None:
    """Stop all ranks here if any of them was asked to; every rank calls it.

    Raises:
        Stopped: one was asked; the line says by what.
    """
    reasons = [reason for reason in runtime.all_gather_object(stop.reason()) if reason]
    if reasons:
        stop.obeyed()
        raise Stopped(f"stopped by {reasons[0]}")
