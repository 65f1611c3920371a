"""Runs batches in the background, a few requests at a time, through the same answers as HTTP.

Knows nothing about routes. A batch survives the server: what is answered is on disk, the rest is asked
when the server is there again. A request in flight when the process is killed is asked once more.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import IO

from stead.core.errors import RateLimited, SteadError
from stead.core.ids import new_id
from stead.core.lease import held
from stead.serving import batch_lines, guard
from stead.serving.access import Access, Caller
from stead.serving.answer import Answers, attach
from stead.serving.batch_store import Batch, BatchStore, Counts
from stead.serving.settings import Settings
from stead.wire.dialect import Dialect

_LOG = logging.getLogger("stead.batches")
_HEAD_BYTES = 400  # of an output line: ids and the status stand before the body
_SAVE_S = 1.0  # the counts are written this often
_WAIT_S = 60.0  # longest wait for a limit before it is asked again
One = Callable[[Batch, batch_lines.Line], Awaitable[bytes]]


class BatchRuns:
    """The batches at work in this process; `dialects` are the routes they may ask."""

    def __init__(
        self,
        store: BatchStore,
        answers: Answers,
        access: Access,
        settings: Settings,
        dialects: Mapping[str, Dialect],
    ) -> None:
        self.store = store
        self.dialects = dialects
        self._answers = answers
        self._access = access
        self._settings = settings
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def resume(self) -> None:
        """Go on with what an earlier process has left."""
        await asyncio.to_thread(self.store.files.sweep)
        for batch in await asyncio.to_thread(self.store.unfinished):
            self.start(batch)

    def start(self, batch: Batch) -> None:
        """Begin or go on with a batch."""
        if batch.id not in self._tasks:
            task = asyncio.create_task(self._run(batch), name=batch.id)
            self._tasks[batch.id] = task
            task.add_done_callback(lambda _: self._tasks.pop(batch.id, None))

    async def cancel(self, owner: str, id_: str) -> Batch:
        """Stop a batch; what is answered stays. Raises: NotFound; RequestRefused 409 when it is over."""
        batch = await asyncio.to_thread(self.store.get, owner, id_)
        if batch.over:
            words = f"the batch is {batch.status}; it cannot be cancelled"
            raise guard.refused(409, "batch-over", words)
        task = self._tasks.get(id_)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            batch = await asyncio.to_thread(self.store.get, owner, id_)
        async with self._lease(batch) as ours:
            if not batch.over:
                await asyncio.to_thread(self.store.move, batch, "cancelling")
                if ours:  # else the process that works on it ends it, within a second
                    await asyncio.to_thread(self.store.finish, batch, "cancelled")
        return batch

    async def close(self) -> None:
        """Stop the work; it goes on with the next `resume`."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def _lease(self, batch: Batch) -> AsyncIterator[bool]:
        """Hold a batch against other processes; yields False when one of them holds it."""
        path = self.store.part(batch).with_suffix(".lock")
        with ExitStack() as stack:
            yield await asyncio.to_thread(stack.enter_context, held(path))

    async def _run(self, batch: Batch) -> None:
        async with self._lease(batch) as ours:
            if not ours:
                return
            if batch.endpoint not in self.dialects:
                words = f"{batch.endpoint[:100]!r} is not served here any more"
                told = {"code": "unknown_endpoint", "message": words}
                await asyncio.to_thread(self.store.fail, batch, [told])
                return
            try:
                await _Work(self.store, batch, self._settings.batch_parallel, self._one).run(
                    self._settings.batch_limit
                )
            except SteadError as error:
                told = {"code": error.code.replace("-", "_"), "message": error.message}
                await asyncio.to_thread(self.store.fail, batch, [told])
            except OSError:  # it stays as it is, and goes on with the next start
                _LOG.exception("the batch %s stands still", batch.id)

    async def _one(self, batch: Batch, line: batch_lines.Line) -> bytes:
        """Answer one request; return its line of output."""
        dialect, id_ = self.dialects[batch.endpoint], new_id()
        try:
            caller = await self._access.recall(batch.owner)
            made = await self._answer(dialect, caller, line, id_, batch.expires_at)
        except SteadError as error:
            return batch_lines.failure(line.custom_id, id_, dialect, error)
        except Exception as error:  # house: broad-except - a fault of one request ends no batch
            _LOG.exception("request %s of %s failed", id_, batch.id)
            fault = SteadError(
                "internal", f"internal error; request {id_} ({type(error).__name__})"
            )
            return batch_lines.failure(line.custom_id, id_, dialect, fault)
        return batch_lines.answer(line.custom_id, id_, 200, made)

    async def _answer(
        self, dialect: Dialect, caller: Caller, line: batch_lines.Line, id_: str, until: int
    ) -> bytes:
        while True:
            asked = dialect.read_request(bytes(line.body))
            if asked.stream:
                words = "stream cannot be true in a batch"
                raise guard.refused(400, "invalid-value", words, param="stream")
            attach(asked, caller.call(id_), strict=False)
            try:
                deadline = time.monotonic() + self._settings.deadline_s
                return (await self._answers.whole(dialect, asked, deadline)).body
            except RateLimited as error:  # a limit that passes: a batch has the time to wait
                wait_s = error.details.get("retry_after_s")
                if wait_s is None or self.store.now() + float(wait_s) > until:
                    raise
                await asyncio.sleep(min(max(float(wait_s), 0.0), _WAIT_S))


class _Work:
    """One batch from its state to its end; `one` answers a request."""

    def __init__(self, store: BatchStore, batch: Batch, parallel: int, one: One) -> None:
        self._store = store
        self._batch = batch
        self._parallel = parallel
        self._one = one
        self._saved = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, limit: int) -> None:
        """Check, ask, finish. Raises: SteadError when the input file is gone or the disk full."""
        store, batch = self._store, self._batch
        path = await asyncio.to_thread(store.files.path, batch.owner, batch.input_file_id)
        if batch.status == "validating":
            total, wrong = await asyncio.to_thread(batch_lines.check, path, batch.endpoint, limit)
            if wrong:
                await asyncio.to_thread(store.fail, batch, wrong)
                return
            batch.request_counts = Counts(total)
            await asyncio.to_thread(store.move, batch, "in_progress")
        if batch.status == "in_progress":
            answered = await asyncio.to_thread(store.answered, batch)
            good = sum(answered.values())
            batch.request_counts.completed = good
            batch.request_counts.failed = len(answered) - good
            todo = (x for x in batch_lines.read(path) if x.custom_id not in answered)
            try:
                with store.appending(batch) as file:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(self._parallel):
                            self._tasks.append(group.create_task(self._worker(todo, file)))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from errors
        await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        store, batch = self._store, self._batch
        if batch.status == "cancelling":
            store.finish(batch, "cancelled")
        elif self._late:
            store.finish(batch, "expired")
        else:
            store.move(batch, "finalizing")
            store.finish(batch, "completed")

    @property
    def _late(self) -> bool:
        return self._store.now() >= self._batch.expires_at

    async def _worker(self, todo: Iterator[batch_lines.Line], file: IO[bytes]) -> None:
        counts = self._batch.request_counts
        for line in todo:
            if self._batch.status == "cancelling":
                return
            if self._late:
                made = batch_lines.expired(line.custom_id)
            else:
                made = await self._one(self._batch, line)
            file.write(made)
            if b'"status_code":200,' in made[:_HEAD_BYTES]:
                counts.completed += 1
            else:
                counts.failed += 1
            await self._note()

    async def _note(self) -> None:
        """Write the counts now and then; see whether another process has cancelled the batch."""
        now = time.monotonic()
        if now - self._saved < _SAVE_S:
            return
        self._saved = now
        there = await asyncio.to_thread(self._store.get, self._batch.owner, self._batch.id)
        if there.status == "cancelling":
            self._batch.status, self._batch.cancelling_at = there.status, there.cancelling_at
        await asyncio.to_thread(self._store.save, self._batch)
