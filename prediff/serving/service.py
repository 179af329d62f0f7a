"""The service: every complete context becomes exactly one forecast, the newest first.

Nothing is remembered outside the two folders, so a service that was killed goes on where it was.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from hpc.errors import UserError
from prediff.data.quantity import VIL
from prediff.serving.inbox import Arrival, Inbox
from prediff.serving.monitoring import Health, Metrics, State
from prediff.serving.outbox import Outbox, time_label
from prediff.serving.window import Frame, FrameWindow

Say = Callable[[str], None]
MakeForecast = Callable[[xr.DataArray], xr.Dataset]
_RETRY_SECONDS = 5.0
_REMEMBERED = 1000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a service raises its voice.

    Attributes:
        deadline_seconds: from the newest frame's file to its forecast's.
        stale_seconds: without a new frame.
    """

    deadline_seconds: float
    stale_seconds: float


class Service:
    """Turns what comes into the inbox into forecasts in the outbox.

    Args:
        inbox, window, outbox: see their classes.
        forecast: from a context ``(time, y, x)`` to a forecast; compiled graphs stay warm in it.
        limits: of the alarms.
        say: prints a line.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        window: FrameWindow,
        outbox: Outbox,
        forecast: MakeForecast,
        limits: Limits,
        say: Say = print,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inbox, self._window, self._outbox = inbox, window, outbox
        self._forecast, self._limits, self._say, self._clock = forecast, limits, say, clock
        self.metrics, self.health = Metrics(), Health(clock=clock)
        self._last_new = clock()
        self._refused: dict[np.datetime64, float] = {}

    def run(self, stop: threading.Event, *, poll_seconds: float) -> None:
        """Work until `stop` is set; a forecast that was begun is finished first."""
        while not stop.is_set():
            self.work(stop)
            self.metrics_to_file()
            stop.wait(poll_seconds)
        self.health.become("stopping")
        self.metrics_to_file()

    def metrics_to_file(self) -> None:
        """Write the Prometheus text file beside the forecasts, unless the disk is full."""
        self.metrics.healthy.set(self.health.ok)
        self.metrics.frames_kept.set(len(self._window))
        try:
            self.metrics.write(self._outbox.folder / "metrics.prom")
        except OSError:
            return

    def work(self, stop: threading.Event | None = None) -> int:
        """Look once, and forecast all that is complete; return how many forecasts were written."""
        if not self._look():
            return 0
        made = 0
        state: State = "ok" if self._outbox.find(None) else "waiting"
        problem = "" if state == "ok" else "no forecast yet"
        for time_ in self._window.complete():
            if stop is not None and stop.is_set():
                break
            if self._outbox.has(time_) or self._refused.get(time_, 0) > self._clock():
                continue
            problem = self._make(time_)
            if problem:
                state = "cannot write"
                break
            made, state = made + 1, "ok"
        if state != "cannot write" and self._is_stale():
            state = "stale"
            problem = f"no new frame for {self._clock() - self._last_new:.0f} s"
        if self.health.become(state, problem) and state in ("stale", "cannot write"):
            self._alarm(problem)
        return made

    def _look(self) -> bool:
        """Take in what arrived; return whether the folder is there."""
        try:
            for arrival in self._inbox.arrivals():
                self._take(arrival)
        except OSError as error:
            if self.health.become("folder gone", str(error)):
                self._alarm(f"the watched folder is gone: {error}; waiting for it")
            return False
        return True

    def _take(self, arrival: Arrival) -> None:
        if arrival.frames is None:
            self.metrics.files_refused.inc()
            self._alarm(f"{arrival.path.name} left out: {arrival.problem}")
            return
        for number in range(arrival.frames.sizes["time"]):
            values = arrival.frames.isel(time=number)
            values.encoding = arrival.frames.encoding
            at: np.datetime64 = values["time"].values[()].astype("datetime64[s]")  # type: ignore
            outcome = self._window.add(at, Frame(values, arrival.modified))
            self.metrics.frames.labels(outcome=outcome).inc()
            if outcome == "new":
                self._last_new = self._clock()
                self.health.newest_frame = time_label(at)
                self.metrics.newest_frame.set(_seconds(at))
                self._tell_of_gap(at)
            elif outcome != "late":
                self._say(f"frame {time_label(at)} of {arrival.path.name}: {outcome}, not taken")

    def _tell_of_gap(self, at: np.datetime64) -> None:
        newest = self._window.newest
        assert newest is not None
        missing = self._window.missing(newest)
        if missing and len(self._window) >= self._window.context:
            self.metrics.gaps.inc()
            self._alarm(
                f"no forecast from {time_label(at)}: {len(missing)} of {self._window.context} "
                f"frames are missing, the first is {time_label(missing[0])}"
            )

    def _make(self, at: np.datetime64) -> str:
        """Forecast from one time; return why that is not possible now, or nothing."""
        began = time.perf_counter()
        try:
            context, arrived = self._window.context_of(at)
            forecast = self._forecast(context)
        except Exception as error:  # one odd frame must not end a service
            known = isinstance(error, UserError | ValueError)
            self.metrics.failures.inc()
            self._refused[at] = float("inf") if known else self._clock() + _RETRY_SECONDS
            reason = " ".join(str(error).split()) or type(error).__name__
            self._alarm(f"no forecast from {time_label(at)}: {reason}")
            return ""
        seconds = time.perf_counter() - began
        latency = self._clock() - arrived
        in_order = bool(at == self._window.newest)
        late = in_order and latency > self._limits.deadline_seconds
        quality = {
            "time": time_label(at),
            "written": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds"),
            "latency_seconds": round(latency, 3),
            "forecast_seconds": round(seconds, 3),
            "in_order": in_order,
            "deadline_met": not late,
            **described(context, forecast),
        }
        try:
            path = self._outbox.write(at, forecast, quality)
        except UserError as error:
            self._refused[at] = self._clock() + _RETRY_SECONDS
            return str(error)
        self._refused.pop(at, None)
        oldest = at - _REMEMBERED * self._window.step
        self._refused = {t: until for t, until in self._refused.items() if t >= oldest}
        self.metrics.forecasts.inc()
        self.metrics.forecast_seconds.observe(seconds)
        if in_order:
            self.metrics.latency.observe(latency)
            self.health.newest_forecast = time_label(at)
            self.metrics.newest_forecast.set(_seconds(at))
        self._say(f"{path.name}: {seconds:.2f} s, {latency:.2f} s after its last frame")
        if late:
            self.metrics.deadlines_missed.inc()
            self._alarm(
                f"{path.name} came {latency:.1f} s after its frame, more than "
                f"{self._limits.deadline_seconds:g} s"
            )
        return ""

    def _is_stale(self) -> bool:
        return self._clock() - self._last_new > self._limits.stale_seconds

    def _alarm(self, text: str) -> None:
        self._say(f"ALARM {text}")


def described(context: xr.DataArray, forecast: xr.Dataset) -> dict[str, Any]:
    """Return what tells a good forecast from an odd one, codes on 0-255."""
    code = forecast[f"{forecast.attrs.get('quantity', VIL.name)}_code"].values
    valid = np.isfinite(code)
    found: dict[str, Any] = {
        "members": int(forecast.sizes["realization"]),
        "missing_share": round(1 - float(valid.mean()), 4),
        "context_mean": _rounded(np.nanmean(context.values) if context.notnull().any() else None),
    }
    if valid.any():
        spread = np.nanstd(code, axis=0)
        found |= {
            "forecast_mean": _rounded(np.nanmean(code)),
            "forecast_highest": _rounded(np.nanmax(code)),
            "spread": _rounded(np.nanmean(spread[np.isfinite(spread)])),
        }
    return found


def _seconds(at: np.datetime64) -> float:
    return float(at.astype("datetime64[s]").astype(np.int64))


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 3)
