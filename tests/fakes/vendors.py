"""Vendors on loopback: real HTTP, four protocols, a scripted fault per request, and an invoice.

Knows nothing of stead: every byte is written here by hand, so that it can judge the codecs. Rules:
a token is a word; the answer to a prompt has `length` words, the i-th prompt word (cyclic) with i
behind it, or `max_tokens` if that is less; each word is one piece of a stream. With tools, unless a
tool has answered already, the first tool is called with `{"text": <last user text>}`.
"""

import asyncio
import json
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from tests.fakes.vendor_protocols import CREATED, Answer, Said, count, protocol_of, words_of


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; several may be combined. `Fault()` is none.

    `status`: refuse in the vendor's own shape (billed 0). `retry_after`: sent as it is.
    `delay_s`: before the status line. `hang`: never answer (billed 0).
    `cut_after`: close after k pieces, of a whole answer in the middle of its body (billed whole).
    `hang_after`: say nothing more after k pieces. `error_after`: the protocol's error event then.
    `silent`: a stream without usage.
    """

    status: int | None = None
    message: str = "scripted fault"
    retry_after: str | None = None
    delay_s: float = 0.0
    hang: bool = False
    cut_after: int | None = None
    hang_after: int | None = None
    error_after: int | None = None
    pause_s: float = 0.0  # between the pieces
    silent: bool = False


@dataclass
class Billed:
    """One line of the invoice: what was asked, what came of it, and what it costs.

    `outcome`: "ok", "refused", "cut" (by us), "left" (by the client), "hung".
    """

    protocol: str
    path: str
    model: str
    stream: bool
    headers: dict[str, str]
    body: dict[str, Any]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    status: int = 200
    outcome: str = "left"


class MockVendor:
    """One origin that speaks all four protocols by path.

    `invoice` has one line per request received, in order of arrival. `script` gives faults to the
    next requests; `always` to all that find no script. `key` is demanded if given. `cached` is how
    many prompt tokens (at most) are billed as cached; `written` are billed as put into the cache, for five
    minutes and for an hour (Anthropic's protocol).
    """

    def __init__(
        self,
        *,
        key=None,
        length=6,
        cached=0,
        models=("mock-1", "mock-2"),
        always=None,
        written=(0, 0),
    ):
        self.key, self.length, self.cached, self.models = key, length, cached, models
        self.written = written
        self.always = Fault() if always is None else always
        self.invoice: list[Billed] = []
        self.faults: deque[Fault] = deque()
        self.left = asyncio.Event()  # set when a client leaves before its answer's end
        self.arrived = asyncio.Event()  # set by every request
        self.url = ""

    def script(self, *faults: Fault) -> None:
        """Append faults for the next requests, one each."""
        self.faults.extend(faults)

    def text(self, prompt: str, limit: int | None = None) -> str:
        """What this vendor answers to a prompt."""
        return "".join(words_of(prompt, self._length(limit)))

    def cost(self, *, input: int, output: int, cached: int | None = None) -> int:
        """The sum of the invoice at these prices (any unit per token, e.g. picodollars)."""
        cached = input if cached is None else cached
        return sum(
            (b.prompt_tokens - b.cached_tokens) * input
            + b.cached_tokens * cached
            + b.completion_tokens * output
            for b in self.invoice
        )

    def _length(self, limit):
        # Ollama's -1 and a missing limit: as long as the vendor likes
        return self.length if limit is None or limit < 0 else min(limit, self.length)

    def _answer(self, said: Said, fault: Fault) -> Answer:
        tokens = sum(map(count, said.texts))
        cached = min(self.cached, tokens)
        if said.tool:
            arguments = {"text": said.last}
            return Answer(
                ["(call)"], "tool", tokens, cached, said.tool, arguments, usage=not fault.silent
            )
        length = self._length(said.limit)
        finish = "stop" if length == self.length else "length"
        return Answer(
            words_of(said.last, length), finish, tokens, cached,
            usage=not fault.silent, written=self.written,
        )  # fmt: skip

    async def handle(self, request: web.Request) -> web.StreamResponse:
        protocol = protocol_of(request.path)
        if protocol is None:
            return web.Response(status=404, text="no such route")
        if request.method == "GET":
            return self._list(request.path)
        body = await request.json()
        model = str(body.get("model", request.path.rpartition("/")[2].partition(":")[0]))
        line = Billed(protocol.name, request.path, model, False, dict(request.headers), body)
        self.invoice.append(line)
        self.arrived.set()
        fault = self.faults.popleft() if self.faults else self.always
        try:
            return await self._serve(request, protocol, line, fault)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    def _list(self, path):
        if path == "/api/tags":
            return web.json_response({"models": [{"name": m, "model": m} for m in self.models]})
        if path == "/v1beta/models":
            names = [{"name": f"models/{m}"} for m in self.models]
            return web.json_response({"models": names})
        data = [
            {"id": m, "object": "model", "created": CREATED, "owned_by": "mock"}
            for m in self.models
        ]
        return web.json_response({"object": "list", "data": data})

    def _refusal(self, request, line, fault):
        """Status and words of what is refused before any work, or None."""
        headers = {k.lower(): v for k, v in request.headers.items()}
        given = headers.get("x-api-key", headers.get("x-goog-api-key"))
        given = headers.get("authorization", "").removeprefix("Bearer ") if given is None else given
        if self.key is not None and given != self.key:
            return 401, "this key is wrong"
        if fault.status is not None:
            return fault.status, fault.message
        if line.model.startswith("no-such"):
            return 404, f"model {line.model!r} not found"
        return None

    async def _serve(self, request, protocol, line, fault):
        if fault.hang:
            line.outcome = "hung"
            await asyncio.sleep(3600)
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if refusal := self._refusal(request, line, fault):
            line.status, line.outcome = refusal[0], "refused"
            extra = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            body = protocol.error(*refusal)
            return web.json_response(body, status=refusal[0], headers=extra)
        path, body = request.path, line.body
        if path.endswith(("/embeddings", "/embed", ":batchEmbedContents")):
            found, line.prompt_tokens = protocol.vectors(body)
            return await self._whole(request, found, line, fault)
        said = protocol.said(path, body.get("generateContentRequest", body))
        answer = self._answer(said, fault)
        line.stream = said.stream
        if path.endswith(("/count_tokens", ":countTokens")):
            name = "input_tokens" if path.endswith("/count_tokens") else "totalTokens"
            return await self._whole(request, {name: answer.prompt_tokens}, line, fault)
        line.prompt_tokens, line.cached_tokens = answer.prompt_tokens, answer.cached_tokens
        if said.stream:
            return await self._stream(request, protocol, said, answer, line, fault)
        line.completion_tokens = answer.completion_tokens
        return await self._whole(request, protocol.whole(path, said, answer), line, fault)

    async def _whole(self, request, found, line, fault):
        data = json.dumps(found).encode()
        if fault.cut_after is None:
            line.outcome = "ok"
            return web.Response(body=data, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        response.content_type = "application/json"
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        return self._cut(request, response, line)

    @staticmethod
    def _cut(request, response, line):
        line.outcome = "cut"
        if request.transport is not None:
            request.transport.close()
        return response

    async def _stream(self, request, protocol, said, answer, line, fault):
        response = web.StreamResponse(headers={"Content-Type": protocol.kind})
        await response.prepare(request)
        pieces = protocol.stream(request.path, said, answer, line.body)
        stops = {fault.cut_after: "cut", fault.hang_after: "hung", fault.error_after: "error"}
        sent = 0
        for data, tokens in pieces:
            if tokens and sent in stops:
                break
            await response.write(data)
            line.completion_tokens += tokens
            sent += tokens
            if fault.pause_s and tokens:
                await asyncio.sleep(fault.pause_s)
        else:
            line.outcome = "ok"
            await response.write_eof()
            return response
        if stops[sent] == "hung":
            line.outcome = "hung"
            await asyncio.sleep(3600)
        if stops[sent] == "error":
            await response.write(protocol.error_event(fault.message))
        return self._cut(request, response, line)


@asynccontextmanager
async def mock_vendor(**options):
    """Run a MockVendor on loopback; `vendor.url` is its origin."""
    vendor = MockVendor(**options)
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{path:.*}", vendor.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    vendor.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield vendor
    finally:
        await runner.cleanup()
