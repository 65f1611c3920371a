"""Two attempts at once: start the second when the first is slow, keep the first result, cancel the other.

Knows nothing about what is attempted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from stead.core.errors import SteadError

T = TypeVar("T")
_CANCEL_S = 0.25  # a loser is cancelled within this time, or left to end by itself
Start = Callable[[], Awaitable[T]]


@dataclass(slots=True)
class Won(Generic[T]):
    """The results of attempts by number; `by` is who won, None when all failed; and the errors."""

    results: dict[int, T] = field(default_factory=dict)
    by: int | None = None
    errors: dict[int, SteadError] = field(default_factory=dict)


async def race(
    starts: Sequence[Start[T]],
    delay_s: float,
    discard: Callable[[T], Awaitable[None]],
) -> Won[T]:
    """Run `starts[0]`, and `starts[1]` too once `delay_s` have passed without a result.

    An error before that time ends the race. `discard` is given the result of a loser. Raises: what is
    raised besides SteadError, after cancelling both.
    """
    tasks = [asyncio.ensure_future(starts[0]())]
    won: Won[T] = Won()
    try:
        await asyncio.wait(tasks, timeout=delay_s)
        if not tasks[0].done():
            tasks.append(asyncio.ensure_future(starts[1]()))
        open_tasks = set(tasks)
        while open_tasks and won.by is None:
            done, open_tasks = await asyncio.wait(open_tasks, return_when=asyncio.FIRST_COMPLETED)
            _take(won, [(i, t) for i, t in enumerate(tasks) if t in done])
        return won
    finally:
        losers = [t for i, t in enumerate(tasks) if i != won.by]
        await _cancel(losers, discard)


def _take(won: Won[T], done: Sequence[tuple[int, "asyncio.Future[T]"]]) -> None:
    """Note what has ended; of two that ended together the first wins."""
    for number, task in done:
        error = task.exception()
        if isinstance(error, SteadError):
            won.errors[number] = error
        elif error is not None:
            raise error
        elif won.by is None:
            won.by = number
            won.results[number] = task.result()


async def _cancel(
    tasks: Sequence["asyncio.Future[T]"], discard: Callable[[T], Awaitable[None]]
) -> None:
    running = [t for t in tasks if not t.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=_CANCEL_S)
    for task in tasks:
        if task.done() and not task.cancelled() and task.exception() is None:
            await discard(task.result())
