"""Which files of an archive make which windows, and why the others do not.

Times alone decide, so that a plan costs a look at each file's header, not its pixels.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from hpc.errors import UserError
from prediff.data.file_guard import first_line, is_hdf5
from prediff.data.formats.knmi import is_knmi, knmi_time
from prediff.data.formats.meteoswiss_gif import meteoswiss_time
from prediff.data.formats.odim import is_odim, odim_time
from prediff.data.formats.radolan import is_radolan, radolan_header
from prediff.data.formats.read_file import read_images
from prediff.data.gridded import clock

_NO_RADAR = {".csv", ".json", ".md", ".txt", ".idx", ".py", ".sh", ".html"}
_MINUTE = np.timedelta64(60, "s")


@dataclass(frozen=True)
class SourceFrame:
    """One image of the archive: its time, and which image of which file it is."""

    time: np.datetime64
    path: Path


@dataclass(frozen=True)
class Window:
    """Frames one cadence apart, without a gap."""

    frames: tuple[SourceFrame, ...]

    @property
    def label(self) -> str:
        """The time of the first frame, as names of files have it."""
        minute = str(self.frames[0].time.astype("datetime64[m]"))
        return minute.replace("-", "").replace(":", "").replace("T", "-")


@dataclass
class Plan:
    """What would be taken, and what would not.

    Attributes:
        windows: to read, in the order of time.
        cadence_minutes: between frames.
        files, images: how many were looked at and found.
        left_out: reasons, with how often and the first example of each.
    """

    windows: list[Window] = field(default_factory=list)
    cadence_minutes: float = 0.0
    files: int = 0
    images: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def leave_out(self, reason: str, example: str, *, count: int = 1) -> None:
        self.left_out[reason] += count
        self.examples.setdefault(reason, example)

    def lines(self) -> list[str]:
        """Return the plan for people, a line each."""
        used = sum(len(window.frames) for window in self.windows)
        said = [
            f"{self.files} files with {self.images} images; {len(self.windows)} windows of "
            f"{used} images, {self.cadence_minutes:g} minutes apart"
        ]
        said += [
            f"left out: {count} {reason}, as {self.examples[reason]}"
            for reason, count in sorted(self.left_out.items())
        ]
        return said


def make_plan(
    source: Path,
    *,
    frames: int,
    minutes: float | None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """Look at every file of an archive and return what would be taken.

    Args:
        source: a folder, searched to its depth, or one file.
        frames: of a window.
        minutes: between the frames of a window; None is the step that most images have.
        strict: stop at the first file that cannot be read.
        progress: called with the files done and of all.

    Raises:
        UserError: no files, no two images, or a bad file with ``strict``.
    """
    files = _files(source)
    plan = Plan(files=len(files))
    found: dict[np.datetime64, SourceFrame] = {}
    for done, path in enumerate(files, 1):
        try:
            times = image_times(path)
        except UserError as error:
            if strict:
                raise
            plan.leave_out("files that cannot be read", str(error))
            times = []
        for time in times:
            plan.images += 1
            if time in found:
                plan.leave_out("images of a time that is there already", f"{path} {clock(time)}")
            else:
                found[time] = SourceFrame(time, path)
        if progress:
            progress(done, len(files))
    ordered = [found[time] for time in sorted(found)]
    if len(ordered) < 2:
        why = next(iter(plan.examples.values()), "no second time")
        raise UserError(f"{source} holds {len(ordered)} radar images of different times: {why}")
    plan.cadence_minutes = minutes or _usual_step([frame.time for frame in ordered])
    plan.windows = _windows(ordered, frames=frames, plan=plan)
    return plan


def image_times(path: Path) -> list[np.datetime64]:
    """Return the times of a file's images, from its header where the format has one.

    Raises:
        UserError: no radar file, or one without times.
    """
    if path.is_dir():
        return [image.time for image in read_images(path)]
    try:
        if is_hdf5(path):
            with h5py.File(path, "r") as file:
                if is_odim(file):
                    return [odim_time(file, path)]
                if is_knmi(file):
                    return [knmi_time(file, path)]
        with path.open("rb") as plain:
            head = plain.read(4096)
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from None
    if head.startswith(b"GIF8"):
        return [meteoswiss_time(path)]
    if is_radolan(head):
        return [radolan_header(head, path)["time"]]
    return [image.time for image in read_images(path)]


def _files(source: Path) -> list[Path]:
    if not source.exists():
        raise UserError(f"no radar files at {source}")
    if source.is_file() or source.suffix == ".zarr":
        return [source]
    files = sorted(
        path
        for path in source.rglob("*")
        if not any(part.startswith(".") or part.endswith(".zarr") for part in path.parts[:-1])
        and not path.name.startswith(".")
        and (path.is_file() or path.suffix == ".zarr")
        and path.suffix not in _NO_RADAR
    )
    if not files:
        raise UserError(f"{source} holds no files: name the folder of an archive")
    return files


def _usual_step(times: Sequence[np.datetime64]) -> float:
    steps, counts = np.unique(np.diff(np.array(times)) / _MINUTE, return_counts=True)
    return float(steps[counts.argmax()])


def _windows(ordered: Sequence[SourceFrame], *, frames: int, plan: Plan) -> list[Window]:
    """Cut windows out of every stretch without a gap; one begins where the last one ended."""
    windows = []
    for stretch in _stretches(ordered, plan):
        whole = len(stretch) // frames * frames
        windows += [
            Window(tuple(stretch[start : start + frames])) for start in range(0, whole, frames)
        ]
        rest = len(stretch) - whole
        if rest:
            plan.leave_out(
                f"images of stretches too short for {frames} frames, or at their ends",
                clock(stretch[whole].time),
                count=rest,
            )
    return windows


def _stretches(ordered: Iterable[SourceFrame], plan: Plan) -> list[list[SourceFrame]]:
    """Part images where one is missing; what comes between two steps is left out."""
    step = np.timedelta64(round(plan.cadence_minutes * 60), "s")
    slack = np.timedelta64(max(1, round(plan.cadence_minutes * 60 * 0.2)), "s")
    stretches: list[list[SourceFrame]] = []
    for frame in ordered:
        if not stretches:
            stretches.append([frame])
            continue
        since = frame.time - stretches[-1][-1].time
        if since < step - slack:
            plan.leave_out("images between two steps of the cadence", clock(frame.time))
        elif since <= step + slack:
            stretches[-1].append(frame)
        else:
            before = clock(stretches[-1][-1].time)
            plan.leave_out("gaps", f"{before} to {clock(frame.time)}")
            stretches.append([frame])
    return stretches
