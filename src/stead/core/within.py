"""A time limit around awaited work that costs a timer and nothing else.

Knows nothing about what is awaited. `asyncio.timeout` does the same with two more coroutine steps and a state
machine; on the path of every request that is a tenth of our own work.
"""

import asyncio
from types import TracebackType


class Within:
    """`with Within(seconds): await …` raises TimeoutError when the time has passed first.

    As with `asyncio.timeout`, a cancellation from elsewhere goes on as such.
    """

    __slots__ = ("_before", "_late", "_limit_s", "_task", "_timer")

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._late = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a running task")
        self._task = task
        self._before = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(self._limit_s, self._end)

    def _end(self) -> None:
        self._late = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        ours = self._late and self._task.uncancel() <= self._before
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error
