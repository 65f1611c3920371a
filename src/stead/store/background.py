"""A thread that does many small jobs for the database together: what has come meanwhile is one transaction.

Knows nothing about the jobs. Nobody waits for the disk but this thread; jobs are done in the order they came.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from stead.core.errors import ResourceError

T = TypeVar("T")
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 2.0


class Background(Generic[T]):
    """Hands the jobs that `put` brings to `work`, up to `most` at a time, in one thread.

    When `work` raises ResourceError, `failed` says which of the jobs to try again (a pause later).
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[T]], None],
        *,
        failed: Callable[[list[T], ResourceError], list[T]],
        most: int = 500,
        pause_s: float = 0.0,
    ) -> None:
        self._work = work
        self._failed = failed
        self._most = most
        self._pause_s = pause_s  # waited before each batch, so that more may come
        self._jobs: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._give_up = threading.Event()
        self._left: list[T] = []
        self._brought = 0  # counted without a lock: too low a number is only flushed less
        self._done = 0
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, job: T) -> None:
        """Add a job; never waits. Raises: RuntimeError after `close`."""
        if self._closing.is_set():
            raise RuntimeError(f"{self._thread.name} is closed")
        self._jobs.put(job)
        self._brought += 1

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until what was put so far is done; say whether it is."""
        wanted = self._brought
        with self._progress:
            return self._progress.wait_for(lambda: self._done >= wanted, timeout_s)

    @property
    def waiting(self) -> int:
        """How many jobs have not begun."""
        return self._jobs.qsize()

    def close(self, timeout_s: float = 10.0) -> list[T]:
        """Do what is left and stop; return the jobs that could not be done in that time."""
        if not self._closing.is_set():
            self._closing.set()
            self._jobs.put(None)
        self._thread.join(timeout_s)
        self._give_up.set()
        self._thread.join(_LONGEST_WAIT_S)
        left, self._left = self._left, []
        return left

    def _run(self) -> None:
        is_last = False
        while not is_last:
            batch, is_last = self._next()
            count = len(batch)
            wait_s = _FIRST_WAIT_S
            while batch:
                try:
                    self._work(batch)
                    batch = []
                except ResourceError as error:
                    batch = self._failed(batch, error)
                    if batch and self._give_up.wait(wait_s):
                        self._left = batch + self._drain()
                        return
                    wait_s = min(_LONGEST_WAIT_S, 2 * wait_s)
            with self._progress:
                self._done += count
                self._progress.notify_all()

    def _next(self) -> tuple[list[T], bool]:
        first = self._jobs.get()
        if first is None:
            return [], True
        if self._pause_s and not self._closing.is_set():
            time.sleep(self._pause_s)
        batch = [first]
        while len(batch) < self._most and not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    def _drain(self) -> list[T]:
        found: list[T] = []
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                found.append(job)
        return found
