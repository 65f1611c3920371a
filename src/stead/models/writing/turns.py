"""A lock that is handed to whoever has waited longest, so that nobody is kept from the model for long.

Knows nothing about models. Python's own lock may be taken again at once by the thread that gave it up.
"""

import threading
from collections import deque
from types import TracebackType


class Turns:
    """`with turns:` one thread at a time, first come, first served."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._held = False
        self._gates: deque[threading.Lock] = deque()

    def acquire(self) -> None:
        """Wait for one's turn."""
        with self._mutex:
            if not self._held:
                self._held = True
                return
            gate = threading.Lock()
            gate.acquire()
            self._gates.append(gate)
        gate.acquire()  # opened by `release`, which hands the turn over

    def release(self) -> None:
        """End one's turn."""
        with self._mutex:
            if self._gates:
                self._gates.popleft().release()
            else:
                self._held = False

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
