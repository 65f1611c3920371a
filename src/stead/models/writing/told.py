"""From the scheduler's thread to whoever asked: pieces of a stream, progress of a batch, the end of a wait.

Knows nothing about how rows are written. `Voice.chunk` and `Counted.told` are called in that thread.
"""

import asyncio
from collections.abc import Callable

from stead.core.events import Emit, Finished, Progress, Started
from stead.messages import Chunk, TokenLogprob
from stead.models.writing.answering import Answerer, parts
from stead.models.writing.row import Row
from stead.models.writing.schedule import Job


class Voice:
    """One streamed choice: what a row has written since the last chunk."""

    def __init__(self, answer: Answerer, row: Row, index: int, head: Callable[..., Chunk]) -> None:
        self._answer, self._row, self._index, self._head = answer, row, index, head
        self._speaker = answer.speaker()
        self._sent = 0

    def chunk(self) -> Chunk:
        """Return the newest tokens, if there are any, and the end, if it has come."""
        row, events = self._row, []
        logprobs: list[TokenLogprob] = []
        for at in range(self._sent, len(row.ids)):
            events += self._speaker.feed(row.text_of(at))
            picked = row.picked[at]
            if picked.logprob is not None and row.rule.logprobs is not None:
                logprobs.append(self._answer.logprob(picked.id, picked.logprob, picked.top))
        self._sent = len(row.ids)
        reason = None
        if row.reason is not None:
            events += [*self._speaker.feed(row.rest()), *self._speaker.finish()]
            reason = self._speaker.reason(row.reason)
        text, calls = parts(events)
        return self._head(
            index=self._index, text=text, tool_calls=calls, logprobs=tuple(logprobs),
            finish_reason=reason,
        )  # fmt: skip


class Counted:
    """Says how many rows are done."""

    def __init__(self, emit: Emit, total: int) -> None:
        self._emit, self._total, self._done, self._tokens = emit, total, 0, 0
        emit(Started(stage="generate", total=total, unit="row"))

    def told(self, row: Row) -> None:
        """Take note of a row's newest token."""
        if row.reason is not None:
            self._done, self._tokens = self._done + 1, self._tokens + len(row.ids)
            tokens = float(self._tokens)
            self._emit(Progress(stage="generate", done=self._done, values={"tokens": tokens}))

    def end(self) -> None:
        """Say that all is done."""
        result = {"rows": self._total, "tokens": self._tokens}
        self._emit(Finished(stage="generate", result=result))


def on_loop(loop: asyncio.AbstractEventLoop, job: Job, call: Callable[[], None]) -> None:
    """Call something in the loop's thread; where the loop is gone, so is the job."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:  # the loop is closed: nobody waits any more
        job.gone = True


def settle(done: "asyncio.Future[None]", error: BaseException | None) -> None:
    """End a wait, unless it was cancelled."""
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
