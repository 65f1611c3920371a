"""The platform of another process from Python: data sets, models, runs, jobs of a `stead serve`.

Knows nothing about what the server does, and nothing about models' answers: `stead.Gateway(url=…)` asks those.

    with stead.Client("http://127.0.0.1:8080", token) as client:
        data = client.add_dataset("rows.jsonl")
        started = client.start_training({"model": {"path": "tiny"}, "data": {"path": data["id"]}})
        for event in client.follow(started.run_id):
            print(event)
"""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from stead.core.closing import AsyncClosing, Closing
from stead.core.errors import (
    BackendError,
    MissingDependency,
    NotFound,
    RateLimited,
    ResourceError,
    SteadError,
    UsageError,
)
from stead.core.http import Answer, Http, Waits
from stead.core.loop import LOOP

Json = dict[str, Any]  # Any: JSON values
Steered = Literal["cancel", "pause", "resume"]
_OVER = ("succeeded", "failed", "cancelled")
_PIECE_BYTES = 256 * 1024
_AGAIN_S = 0.5
_LOST = 20  # broken streams in a row without one event, then it is the server
_WAITS = Waits(first_s=300.0, between_s=60.0)  # an idle stream has a word every 15 s
_CLASSES: dict[int, type[SteadError]] = {
    404: NotFound, 429: RateLimited, 501: MissingDependency, 507: ResourceError,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Started:
    """A run that was queued."""

    job_id: str
    run_id: str
    status: str


class AsyncClient(AsyncClosing):
    """One server. `token`: a user's; none where nobody is asked for one.

    Every method raises what the server refused, as the same class with its code, hint and `param`:
    UsageError, NotFound, RateLimited; BackendError when there is no server, or it failed.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", token: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = Http()

    async def close(self) -> None:
        """Hang up; the next request would connect again."""
        await self._http.close()

    async def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send any request of `/api/openapi.json`; return the answer. Any: JSON values; None leaves a query out."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        async with await self._open(method, path + _query(query), headers, data) as answer:
            return json.loads(await answer.read())

    async def plan(self, config: Mapping[str, Any]) -> Json:
        """Settle everything about a run, without starting it: values with their origins, forecast, warnings."""
        return dict(await self.ask("POST", "/api/plan", {"config": dict(config)}))

    async def start_training(
        self,
        config: Mapping[str, Any] | str,
        *,
        name: str | None = None,
        tags: Sequence[str] = (),
        key: str | None = None,
    ) -> Started:
        """Queue a run by a recipe, a mapping or YAML text; it returns at once. The same `key` starts it once."""
        recipe = {"yaml": config} if isinstance(config, str) else {"config": dict(config)}
        more = {"name": name, "tags": list(tags), "idempotency_key": key}
        return Started(**await self.ask("POST", "/api/start_training", recipe | more))

    async def run(self, run_id: str) -> Json:
        """Return one run as it is now."""
        return dict(await self.ask("GET", f"/api/runs/{_part(run_id)}"))

    async def runs(
        self, *, state: str | None = None, q: str | None = None, limit: int = 50
    ) -> list[Json]:
        """Return the newest runs."""
        return list((await self.ask("GET", "/api/runs", state=state, q=q, limit=limit))["items"])

    async def steer(self, run_id: str, what: Steered) -> Json:
        """Cancel, pause or resume a run; return it."""
        return dict(await self.ask("POST", f"/api/runs/{_part(run_id)}/{what}"))

    async def metrics(self, run_id: str, keys: Sequence[str] = (), *, points: int = 1000) -> Json:
        """Return `steps` and `series` of what was measured, thinned to about `points` places."""
        names = ",".join(keys) if keys else None
        path = f"/api/runs/{_part(run_id)}/metrics"
        return dict(await self.ask("GET", path, keys=names, points=points))

    async def follow(self, run_id: str, after: int = -1) -> AsyncIterator[Json]:
        """Yield a run's events from the one after number `after` on, until it is over.

        A lost connection, or a server that restarts, is come back to where it was.
        """
        lost = 0
        while lost < _LOST:
            try:
                async with aclosing(self._events(run_id, after)) as events:
                    async for number, event in events:
                        if number is None:
                            return
                        after, lost = number, 0
                        yield event
            except BackendError as error:
                if "status" in error.details:
                    raise
            lost += 1
            await asyncio.sleep(_AGAIN_S)
        raise BackendError("connection-lost", f"{self._url} was lost while {run_id!r} was followed")

    async def _events(self, run_id: str, after: int) -> AsyncGenerator[tuple[int | None, Json]]:
        """Yield (number, event); (None, {}) when there will be no more. Source: WHATWG HTML, server-sent events."""
        path, rest = f"/api/runs/{_part(run_id)}/events?after={after}", b""
        async with await self._open("GET", path, {}, None) as answer:
            async for data in answer:
                *frames, rest = (rest + data).split(b"\n\n")
                for frame in frames:
                    lines = (line.partition(b": ") for line in frame.split(b"\n"))
                    fields = {name: value for name, _, value in lines if name}
                    if fields.get(b"event") == b"end":
                        yield None, {}
                    elif b"data" in fields and fields.get(b"id", b"").isdigit():
                        yield int(fields[b"id"]), json.loads(fields[b"data"])

    async def wait(self, run_id: str) -> Json:
        """Return a run when it is over."""
        async for _ in self.follow(run_id):
            pass
        return await self.run(run_id)

    async def add_dataset(self, path: str | Path, name: str | None = None) -> Json:
        """Upload a file of rows; return the data set, whose `id` a recipe's `data.path` takes."""
        path, mark = Path(path), uuid.uuid4().hex
        shown = path.name if name is None else name
        fields = (("name", shown, ""), ("file", "", f'; filename="{quote(path.name)}"'))
        heads = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{field}"{more}\r\n\r\n{value}'.encode()
            for field, value, more in fields
        ]
        head, end = b"\r\n".join(heads), f"\r\n--{mark}--\r\n".encode()
        size = len(head) + path.stat().st_size + len(end)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={mark}",
            "Content-Length": str(size),
        }
        sent = _pieces(head, path, end)
        async with await self._open("POST", "/api/datasets", headers, None, sent) as answer:
            return dict(json.loads(await answer.read()))

    async def datasets(self, *, q: str | None = None, limit: int = 50) -> list[Json]:
        """Return the newest data sets."""
        return list((await self.ask("GET", "/api/datasets", q=q, limit=limit))["items"])

    async def models(self, *, q: str | None = None) -> list[Json]:
        """Return the server's models."""
        return list((await self.ask("GET", "/api/models", q=q))["items"])

    async def add_model(self, ref: str, name: str | None = None) -> Json:
        """Queue a download such as `hf:org/name`; return its job."""
        return dict((await self.ask("POST", "/api/models", {"ref": ref, "name": name}))["job"])

    async def evaluate(
        self, models: Sequence[str], data: str, metrics: Sequence[str], **more: Any
    ) -> Json:
        """Queue an evaluation; return its job. `more`: fields of POST /api/evaluations (Any: JSON values)."""
        order = {"models": list(models), "data": data, "metrics": list(metrics)} | more
        return dict((await self.ask("POST", "/api/evaluations", order))["job"])

    async def export(self, **order: Any) -> Json:
        """Queue an export by the fields of POST /api/exports (Any: JSON values); return its job."""
        return dict((await self.ask("POST", "/api/exports", order))["job"])

    async def job(self, job_id: str, *, wait: bool = False) -> Json:
        """Return a job as it is now, or when it is over."""
        while True:
            found = dict(await self.ask("GET", f"/api/jobs/{_part(job_id)}"))
            if not wait or found["state"] in _OVER:
                return found
            await asyncio.sleep(_AGAIN_S)

    async def _open(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        upload: AsyncIterator[bytes] | None = None,
    ) -> Answer:
        """Send a request; return an answer that went well."""
        answer = await self._http.open(
            method, self._url + path, headers={**self._headers, **headers}, body=body, waits=_WAITS, upload=upload
        )  # fmt: skip
        if answer.status < 300:
            return answer
        async with answer:
            raise _refusal(answer.status, await answer.read())


class Client(Closing):
    """The methods of `AsyncClient` for code that does not await; works in notebooks too."""

    def __init__(self, url: str = "http://127.0.0.1:8080", token: str | None = None) -> None:
        self._inner = AsyncClient(url, token)

    def close(self) -> None:
        """Hang up; the next request would connect again."""
        LOOP.run(self._inner.close())

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send any request of `/api/openapi.json`; return the answer. Any: JSON values."""
        return LOOP.run(self._inner.ask(method, path, body, **query))

    def plan(self, config: Mapping[str, Any]) -> Json:
        """Settle everything about a run, without starting it."""
        return LOOP.run(self._inner.plan(config))

    def start_training(self, config: Mapping[str, Any] | str, **options: Any) -> Started:
        """Queue a run by a recipe; options `name`, `tags`, `key` (Any: as there)."""
        return LOOP.run(self._inner.start_training(config, **options))

    def run(self, run_id: str) -> Json:
        """Return one run as it is now."""
        return LOOP.run(self._inner.run(run_id))

    def runs(
        self, *, state: str | None = None, q: str | None = None, limit: int = 50
    ) -> list[Json]:
        """Return the newest runs."""
        return LOOP.run(self._inner.runs(state=state, q=q, limit=limit))

    def steer(self, run_id: str, what: Steered) -> Json:
        """Cancel, pause or resume a run; return it."""
        return LOOP.run(self._inner.steer(run_id, what))

    def metrics(self, run_id: str, keys: Sequence[str] = (), *, points: int = 1000) -> Json:
        """Return `steps` and `series` of what was measured."""
        return LOOP.run(self._inner.metrics(run_id, keys, points=points))

    def follow(self, run_id: str, after: int = -1) -> Iterator[Json]:
        """Yield a run's events until it is over; closing the iterator hangs up."""
        events = self._inner.follow(run_id, after)
        try:
            while (event := LOOP.run(_next(events))) is not None:
                yield event
        finally:
            LOOP.run(_ended(events))

    def wait(self, run_id: str) -> Json:
        """Return a run when it is over."""
        return LOOP.run(self._inner.wait(run_id))

    def add_dataset(self, path: str | Path, name: str | None = None) -> Json:
        """Upload a file of rows; return the data set."""
        return LOOP.run(self._inner.add_dataset(path, name))

    def datasets(self, *, q: str | None = None, limit: int = 50) -> list[Json]:
        """Return the newest data sets."""
        return LOOP.run(self._inner.datasets(q=q, limit=limit))

    def models(self, *, q: str | None = None) -> list[Json]:
        """Return the server's models."""
        return LOOP.run(self._inner.models(q=q))

    def add_model(self, ref: str, name: str | None = None) -> Json:
        """Queue a download; return its job."""
        return LOOP.run(self._inner.add_model(ref, name))

    def evaluate(
        self, models: Sequence[str], data: str, metrics: Sequence[str], **more: Any
    ) -> Json:
        """Queue an evaluation; return its job (Any: as there)."""
        return LOOP.run(self._inner.evaluate(models, data, metrics, **more))

    def export(self, **order: Any) -> Json:
        """Queue an export; return its job (Any: as there)."""
        return LOOP.run(self._inner.export(**order))

    def job(self, job_id: str, *, wait: bool = False) -> Json:
        """Return a job as it is now, or when it is over."""
        return LOOP.run(self._inner.job(job_id, wait=wait))


async def _next(events: AsyncIterator[Json]) -> Json | None:
    return await anext(events, None)


async def _ended(events: AsyncIterator[Json]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()


async def _pieces(head: bytes, path: Path, end: bytes) -> AsyncIterator[bytes]:
    yield head
    with await asyncio.to_thread(open, path, "rb") as file:
        while data := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield data
    yield end


def _part(name: str) -> str:
    return quote(name, safe="")


def _query(values: Mapping[str, Any]) -> str:
    given = {k: v for k, v in values.items() if v is not None}
    return f"?{urlencode(given)}" if given else ""


def _refusal(status: int, body: bytes) -> SteadError:
    """Return the error that problem details tell of. Source: RFC 9457."""
    try:
        found = json.loads(body)
        code, message = str(found["code"]), str(found["detail"])
    except (ValueError, KeyError, TypeError):
        return BackendError(
            "bad-answer", f"the server answered {status} without a reason", status=status
        )
    kind = _CLASSES.get(status, UsageError if status < 500 else BackendError)
    told = {k: found[k] for k in ("param", "error_id") if found.get(k) is not None}
    return kind(code, message, hint=found.get("hint"), status=status, **told)
