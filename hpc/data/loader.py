"""Batches made ahead of time by a thread, so that the training step never waits for reading."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


_END = object()


class PrefetchLoader:
    """Iterate over ``produce(start), ..., produce(stop - 1)``, made `depth` ahead in a thread.

    At most ``depth + 1`` batches exist outside of the consumer: `depth` in the queue and one in the
    making. An exception in `produce` is raised where the batch would have come. `produce` should
    spend its time in numpy or reading, which let other threads run. Use it as a context manager, or
    call `close`, so that the thread ends when the consumer stops early.

    Args:
        produce: batch number -> batch; called in order, from one thread.
        start: first batch number.
        stop: one past the last batch number; None for endless.
        depth: batches to keep ready.
    """

    def __init__(
        self,
        produce: Callable[[int], Any],
        *,
        start: int,
        stop: int | None,
        depth: int = 2,
    ):
        assert depth >= 1
        self.wait_seconds = 0.0
        """How long the consumer has waited for batches, in all."""
        self._produce, self._next, self._stop = produce, start, stop
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._closed.is_set():
            raise StopIteration
        began = time.perf_counter()
        batch = self._queue.get()
        self.wait_seconds += time.perf_counter() - began
        if batch is _END:
            self.close()
            raise StopIteration
        if isinstance(batch, _Failure):
            self.close()
            raise batch.error
        return batch

    def close(self) -> None:
        """Stop the thread, after the batch that it is making, and forget what is ready."""
        self._closed.set()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(timeout=0.01)
        self._drain()

    def __enter__(self) -> "PrefetchLoader":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _drain(self) -> None:
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                return

    def _run(self) -> None:
        try:
            while not self._closed.is_set() and (self._stop is None or self._next < self._stop):
                batch = self._produce(self._next)
                self._next += 1
                self._put(batch)
                del batch
            self._put(_END)
        except BaseException as error:
            self._put(_Failure(error))

    def _put(self, item: Any) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return
