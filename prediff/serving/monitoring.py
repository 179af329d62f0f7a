"""What a service says of itself: counters and times for Prometheus, and its health."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, write_to_textfile

State = Literal["starting", "ok", "waiting", "stale", "folder gone", "cannot write", "stopping"]
HEALTHY: tuple[State, ...] = ("ok", "waiting")
_SECONDS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """The numbers of one service; a registry of its own, so that two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames = Counter(
            "prediff_frames_total",
            "Frames that came, by what became of them",
            ["outcome"],
            registry=self.registry,
        )
        self.files_refused = Counter(
            "prediff_files_refused_total", "Files that could not be read", registry=self.registry
        )
        self.forecasts = Counter(
            "prediff_forecasts_total", "Forecasts that were written", registry=self.registry
        )
        self.failures = Counter(
            "prediff_forecast_failures_total", "Forecasts that failed", registry=self.registry
        )
        self.deadlines_missed = Counter(
            "prediff_deadlines_missed_total",
            "Forecasts of the newest frame that came too late",
            registry=self.registry,
        )
        self.gaps = Counter(
            "prediff_gaps_total",
            "Times whose context lacked a frame when their own frame came",
            registry=self.registry,
        )
        self.latency = Histogram(
            "prediff_latency_seconds",
            "From the newest frame's file to its forecast's, for frames in order",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.forecast_seconds = Histogram(
            "prediff_forecast_seconds",
            "Of the networks alone",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.healthy = Gauge("prediff_healthy", "1 or 0", registry=self.registry)
        self.frames_kept = Gauge("prediff_frames_kept", "In memory", registry=self.registry)
        self.newest_frame = Gauge(
            "prediff_newest_frame_time_seconds", "Its time, since 1970", registry=self.registry
        )
        self.newest_forecast = Gauge(
            "prediff_newest_forecast_time_seconds",
            "Reference time of the newest forecast, since 1970",
            registry=self.registry,
        )

    def write(self, path: Path) -> None:
        """Write a Prometheus text file, for node_exporter's collector of text files."""
        write_to_textfile(str(path), self.registry)


@dataclass
class Health:
    """How the service is, as `/health` answers; one thread writes, another reads."""

    clock: Callable[[], float] = time.time
    state: State = "starting"
    since: float = field(default_factory=time.time)
    problem: str = ""
    newest_frame: str | None = None
    newest_forecast: str | None = None

    @property
    def ok(self) -> bool:
        return self.state in HEALTHY

    def become(self, state: State, problem: str = "") -> bool:
        """Enter a state; return whether it is another one than before."""
        changed = state != self.state
        if changed:
            self.since = self.clock()
        self.state, self.problem = state, problem
        return changed

    def as_json(self) -> str:
        content: dict[str, Any] = {
            "state": self.state,
            "healthy": self.ok,
            "seconds_in_state": round(self.clock() - self.since, 1),
            "problem": self.problem,
            "newest_frame": self.newest_frame,
            "newest_forecast": self.newest_forecast,
        }
        return json.dumps(content)
