"""What a profile holds, in memory and as JSON: one schema for every script and for the report."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hpc.durable_files import write_durably
from hpc.errors import UserError

FORMAT = 1
REPORT_FILE = "report.json"
PARTS = ("compute", "communication", "data", "eager", "host")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepTimes(_Part):
    """Seconds of one step by where they went; each second belongs to one part."""

    compute: float
    """In operators of compiled graphs."""
    communication: float
    """In collectives while nothing is computed, waiting for other ranks included."""
    data: float
    """Waiting for the batch."""
    eager: float
    """In operators outside of the graphs, and between them."""
    host: float
    """The rest: starting graphs, copies, Python."""

    @property
    def total(self) -> float:
        return self.compute + self.communication + self.data + self.eager + self.host

    @property
    def own(self) -> float:
        """Without what may be waiting for other ranks."""
        return self.total - self.communication


class OperatorTime(_Part):
    """One kind of operator of one module, a step."""

    module: str
    kind: str
    phase: str
    """``forward``, ``backward``, ``update``, ``eager``, or ``expanded``: parts of an operator that
    MindSpore made of a larger one, forward or backward."""
    calls: float
    seconds: float


class Peaks(_Part):
    """What a device can do."""

    name: str
    operations: float
    """A second, of matrix products."""
    bandwidth: float
    """Bytes a second of memory."""

    def at_least(self, *, operations: float) -> "Peaks":
        """Return these peaks, or ones that a rate which was seen does not exceed; the name says so.

        A peak that was measured while the host was busy is below what the device can do.
        """
        if operations <= self.operations:
            return self
        name = f"{self.name}; raised from {self.operations / 1e9:.4g} GFLOP/s, which was exceeded"
        return self.model_copy(update={"operations": operations, "name": name})

    def floor(self, *, operations: float, moved: float) -> float:
        """Return the least seconds for that many operations and bytes."""
        return max(operations / self.operations, moved / self.bandwidth)


class ModuleWork(_Part):
    """One module in a step's forward passes on one rank; norms and such have no products."""

    module: str
    operations: float
    bytes: float
    """Of the factors and results."""
    seconds: float
    """Measured in all of the module's forward operators; 0 if the trace does not name it."""


class RankProfile(_Part):
    """What one rank measured."""

    rank: int
    host: str
    compile_seconds: float
    compile_phases: dict[str, float] = {}
    """Seconds by phase, empty if MindSpore printed none."""
    step_seconds: tuple[float, ...]
    """Of steps without the profiler, waiting for the batch included."""
    steps: tuple[StepTimes, ...]
    """Of steps under the profiler."""
    operators: tuple[OperatorTime, ...]
    resident_peak: float
    """Bytes of the process."""
    pool_timeline: tuple[tuple[float, float], ...] = ()
    """(seconds since the first profiled step, bytes allocated from MindSpore's pool)."""

    def typical(self) -> StepTimes:
        """Return the profiled step of median length, which one disturbed step does not move."""
        return sorted(self.steps, key=lambda step: step.total)[len(self.steps) // 2]


class Loss(_Part):
    """Time that a step loses, in words."""

    cause: str
    """A short name, such as ``data``."""
    seconds: float
    """A step."""
    words: str
    advice: str


class Report(_Part):
    """One profile of one stage."""

    format: int = FORMAT
    name: str
    stage: str
    made: str
    inputs: str
    machine: dict[str, str]
    samples: int
    """A step, of all ranks."""
    operations: float
    """Of a step of all ranks: forward and backward, without recomputation."""
    peaks: Peaks
    """Of all devices together."""
    ranks: tuple[RankProfile, ...]
    modules: tuple[ModuleWork, ...]
    losses: tuple[Loss, ...] = ()
    parameters: dict[str, int] = {}
    """Of the network by the first parts of their names; empty in older reports."""
    goodput: dict[str, float] = {}
    """Seconds by category of the run's stage so far, over all its starts; empty without a run."""

    @property
    def step_seconds(self) -> float:
        """The median step of the slowest rank, without the profiler."""
        return max(_median(rank.step_seconds) for rank in self.ranks)

    @property
    def variation(self) -> float:
        """Longest minus shortest step of the slowest rank over its median, without the profiler."""
        slowest = max(self.ranks, key=lambda rank: _median(rank.step_seconds))
        seconds = slowest.step_seconds
        return (max(seconds) - min(seconds)) / _median(seconds)

    @property
    def mfu(self) -> float:
        return self.operations / (self.step_seconds * self.peaks.operations)


def _median(values: tuple[float, ...]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def write_report(folder: Path, report: Report) -> Path:
    """Write the JSON of a report into its folder."""
    path = folder / REPORT_FILE
    write_durably(path, report.model_dump_json(indent=1))
    return path


def read_report(path: Path) -> Report:
    """Read a report's folder or JSON file.

    Raises:
        UserError: there is none, or it is of another format.
    """
    path = path / REPORT_FILE if path.is_dir() else path
    try:
        return Report.model_validate(json.loads(path.read_text()))
    except FileNotFoundError:
        raise UserError(f"no report {path}: `prediff profile` makes one") from None
    except (ValueError, ValidationError) as error:
        raise UserError(
            f"{path} is no report of format {FORMAT}: {str(error).splitlines()[0]}"
        ) from None
