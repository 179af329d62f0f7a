"""A small HTTP side of a service: /health, /metrics and /forecast, by waitress.

Only GET, no bodies, and no path of a request ever becomes a path of a file: a forecast is named by
its time, which must be one of those that were written.
"""

import re
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from waitress.server import create_server

from hpc.errors import UserError
from prediff.serving.monitoring import Health, Metrics
from prediff.serving.outbox import Outbox

LOOPBACK = "127.0.0.1"
_LABEL = re.compile(r"\d{8}T\d{6}Z")
_BLOCK = 1 << 18
_HELP = b"/health  /metrics  /forecast  /forecast?time=YYYYMMDDTHHMMSSZ\n"

Start = Callable[[str, list[tuple[str, str]]], Any]


class HttpSide:
    """Answers while the service works; a context manager, and nothing of it outlives that.

    Raises:
        UserError: the port is in use, or not ours to take.
    """

    def __init__(
        self, *, host: str, port: int, health: Health, metrics: Metrics, outbox: Outbox
    ) -> None:
        self._health, self._metrics, self._outbox = health, metrics, outbox
        try:
            self._server = create_server(
                self._answer,
                host=host,
                port=port,
                threads=2,
                max_request_header_size=8192,
                max_request_body_size=1024,
                connection_limit=32,
                channel_timeout=30,
                ident=None,
            )
        except (OSError, ValueError) as error:
            raise UserError(f"cannot listen on {host}:{port}: {error}; choose --port") from None
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.effective_port)

    def __enter__(self) -> "HttpSide":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self._thread.join(timeout=5)

    def _serve(self) -> None:
        try:
            self._server.run()
        except OSError:
            return  # closed while it waited

    def _answer(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _reply(start, "405 Method Not Allowed", b"only GET\n")
        path = environ.get("PATH_INFO", "")
        if path == "/health":
            status = "200 OK" if self._health.ok else "503 Service Unavailable"
            return _reply(start, status, self._health.as_json().encode(), "application/json")
        if path == "/metrics":
            self._metrics.healthy.set(self._health.ok)
            text = generate_latest(self._metrics.registry)
            return _reply(start, "200 OK", text, CONTENT_TYPE_LATEST)
        if path == "/forecast":
            return self._forecast(environ, start)
        return _reply(start, "404 Not Found", _HELP)

    def _forecast(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        label = parse_qs(environ.get("QUERY_STRING", "")).get("time", [None])[0]
        if label is not None and not _LABEL.fullmatch(label):
            return _reply(start, "400 Bad Request", b"time is YYYYMMDDTHHMMSSZ\n")
        found = self._outbox.find(label)
        if found is None:
            return _reply(start, "404 Not Found", b"no such forecast\n")
        try:
            file = found.open("rb")
        except OSError:
            return _reply(start, "404 Not Found", b"that forecast is gone\n")
        size = found.stat().st_size
        headers = [
            ("Content-Type", "application/x-netcdf"),
            ("Content-Length", str(size)),
            ("Content-Disposition", f'attachment; filename="{found.name}"'),
        ]
        start("200 OK", headers)
        return environ["wsgi.file_wrapper"](file, _BLOCK)


def _reply(start: Start, status: str, body: bytes, kind: str = "text/plain") -> Iterable[bytes]:
    start(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
