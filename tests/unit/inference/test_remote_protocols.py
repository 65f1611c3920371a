"""One client, four protocols: same answers, honest bills, deviations told, sockets closed at once."""

import asyncio
import base64
import time
from contextlib import aclosing

import pytest
from aiohttp import web
from tests.fakes import vendor_protocols
from tests.fakes.upstream import Reset, head, upstream
from tests.fakes.vendors import Fault, mock_vendor

from stead.core import address
from stead.core.errors import BackendError, RateLimited
from stead.core.http import Http
from stead.inference.images import Images
from stead.inference.remote import Remote
from stead.messages import (
    Call,
    EmbedRequest,
    GenerateRequest,
    ImagePart,
    Message,
    Sampling,
    TextPart,
)
from stead.wire.dialect import DIALECTS

OPENAI = ("openai_chat", "openai_completions", "openai_embeddings")
OLLAMA = ("ollama_chat", "ollama_generate", "ollama_embed")
GOOGLE = ("google", "google_embed", "google_count")
ANTHROPIC = ("anthropic", "anthropic_count")
ALL = pytest.mark.parametrize("dialects", [OPENAI, ANTHROPIC, GOOGLE, OLLAMA], ids=lambda d: d[0])
SAID = "red0 green1 red2 green3 red4 green5"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def ask(*parts, **more):
    content = "red green" if not parts else (TextPart("red green"), *parts)
    sampling = Sampling(max_tokens=50)
    fields = {"model": "mock-1", "messages": (Message("user", content),), "sampling": sampling}
    return GenerateRequest(**fields | more)


def with_vendor(dialects, work, *, images=None, **options):
    async def run():
        async with mock_vendor(**options) as vendor:
            backend = Remote(vendor.url, token="k", dialects=dialects, images=images)
            try:
                async with asyncio.timeout(10):
                    return await work(vendor, backend)
            finally:
                await backend.close()

    return asyncio.run(run())


async def text_and_last(stream):
    chunks = [c async for c in stream]
    return "".join(c.text for c in chunks), chunks


@ALL
@pytest.mark.spec("004-037", "001-069", "004-001")
def test_whole_and_streamed_are_one_text_and_one_bill(dialects):
    async def work(vendor, backend):
        reply = await backend.generate(ask())
        text, chunks = await text_and_last(backend.stream(ask()))
        usages = [c.usage for c in chunks if c.usage is not None]
        return reply, text, usages, vendor.invoice

    reply, text, usages, invoice = with_vendor(dialects, work, key="k", cached=1)

    assert reply.text == text == SAID
    assert reply.choices[0].finish_reason == "stop"
    for usage in (reply.usage, usages[-1]):
        assert (usage.prompt_tokens, usage.completion_tokens) == (2, 6)
    assert [(b.prompt_tokens, b.completion_tokens, b.outcome) for b in invoice] == [
        (2, 6, "ok")
    ] * 2


@pytest.mark.parametrize("dialects", [ANTHROPIC, GOOGLE], ids=lambda d: d[0])
def test_an_answer_of_a_protocol_without_times_is_of_now(dialects):
    async def run():
        async with mock_vendor() as vendor:
            backend = Remote(vendor.url, dialects=dialects, clock=lambda: 1_700_000_000.9)
            reply = await backend.generate(ask())
            _, chunks = await text_and_last(backend.stream(ask()))
            await backend.close()
            return {reply.created, *(c.created for c in chunks)}

    assert asyncio.run(run()) == {1_700_000_000}


@ALL
@pytest.mark.spec("004-035")
def test_a_tool_is_called_whole_and_streamed_and_its_answer_goes_back(dialects):
    async def work(vendor, backend):
        asked = ask(tools=(TOOL,))
        reply = await backend.generate(asked)
        _, chunks = await text_and_last(backend.stream(asked))
        deltas = [d for c in chunks for d in c.tool_calls]
        call = reply.choices[0].message.tool_calls[0]
        answer = Message("tool", "5", tool_call_id=call.id)
        messages = (*asked.messages, reply.choices[0].message, answer)
        return reply, deltas, await backend.generate(ask(messages=messages, tools=(TOOL,)))

    reply, deltas, final = with_vendor(dialects, work)

    call = reply.choices[0].message.tool_calls[0]
    assert (call.name, call.arguments) == ("f", '{"text": "red green"}')
    assert "".join(d.arguments for d in deltas) == call.arguments
    assert [d.name for d in deltas if d.name] == ["f"]
    assert reply.choices[0].finish_reason == "tool_calls"
    assert final.text == SAID


@pytest.mark.spec("004-001")
@ALL
def test_each_refusal_and_each_broken_stream_is_typed(dialects):
    async def work(vendor, backend):
        vendor.script(Fault(status=429, retry_after="2"), Fault(status=503), Fault(cut_after=1))
        codes = []
        for _ in range(3):
            with pytest.raises(BackendError) as caught:
                await backend.generate(ask())
            codes.append(caught.value.code)
            if isinstance(caught.value, RateLimited):
                assert caught.value.details["retry_after_s"] == 2.0
        for fault in (Fault(cut_after=2), Fault(error_after=2)):
            vendor.script(fault)
            texts = []

            async def read(texts=texts):
                async for chunk in backend.stream(ask()):
                    texts.append(chunk.text)

            with pytest.raises(BackendError):
                await read()
            assert "".join(texts) == "red0 green1 "
        return codes

    assert with_vendor(dialects, work) == [
        "rate-limited",
        "upstream-overloaded",
        "connection-lost",
    ]


@ALL
@pytest.mark.spec("004-025")
def test_leaving_in_any_way_closes_the_upstream_socket_at_once(dialects):
    async def left(vendor, begun):
        async with asyncio.timeout(1):
            await vendor.left.wait()
        vendor.left.clear()
        vendor.arrived.clear()
        return time.monotonic() - begun

    async def cancelled(vendor, work, until):
        task = asyncio.create_task(work)
        await until.wait()
        await asyncio.sleep(0.02)
        begun = time.monotonic()
        task.cancel()
        waits = await left(vendor, begun)
        with pytest.raises(asyncio.CancelledError):
            await task
        return waits

    async def work(vendor, backend):
        seen = asyncio.Event()

        async def read():
            async for chunk in backend.stream(ask()):
                if chunk.text:
                    seen.set()

        async def leave():
            async for chunk in backend.stream(ask()):
                if chunk.text:
                    return

        vendor.script(Fault(hang=True), Fault(hang=True), *[Fault(hang_after=2)] * 3)
        waits = [
            await cancelled(vendor, backend.generate(ask()), vendor.arrived),
            await cancelled(vendor, read(), vendor.arrived),
            await cancelled(vendor, read(), seen),
        ]
        begun = time.monotonic()
        await leave()  # nobody closes the iterator: the loop does
        waits.append(await left(vendor, begun))
        async with aclosing(backend.stream(ask())) as chunks:
            await anext(chunks)
            begun = time.monotonic()
        waits.append(await left(vendor, begun))
        return waits

    assert max(with_vendor(dialects, work)) < 0.25  # seconds, as the issue promises


LOST = {"google": "min_p", "ollama_chat": "logit_bias", "anthropic": "seed"}


@pytest.mark.parametrize("dialects", [GOOGLE, OLLAMA, ANTHROPIC], ids=lambda d: d[0])
def test_what_is_dropped_is_told_once_everywhere_or_refused_before_sending(dialects):
    name = LOST[dialects[0]]
    value = {"min_p": 0.1, "logit_bias": {"1": 1.0}, "seed": 1}[name]
    asked = {"sampling": Sampling(max_tokens=50, **{name: value})}

    async def work(vendor, backend):
        call = Call(id="c", attempts=[], deviations=[])
        reply = await backend.generate(ask(call=call, **asked))
        _, chunks = await text_and_last(backend.stream(ask(call=call, **asked)))
        sent = len(vendor.invoice)
        with pytest.raises(BackendError) as caught:
            await backend.generate(ask(strict=True, **asked))
        return reply, chunks, call, caught.value, len(vendor.invoice) - sent

    reply, chunks, call, error, sent = with_vendor(dialects, work)

    told = [d.detail.partition(" ")[0] for d in reply.deviations]
    assert told == [name]
    assert [c.deviations for c in chunks] == [reply.deviations] + [()] * (len(chunks) - 1)
    assert call.deviations == list(reply.deviations)
    assert (error.code, error.details["status"], error.details["param"]) == (
        "not-supported", 400, name
    )  # fmt: skip
    assert sent == 0


@ALL
def test_a_plain_request_has_no_deviation_even_if_strict(dialects):
    async def work(vendor, backend):
        reply = await backend.generate(ask(strict=True))
        _, chunks = await text_and_last(backend.stream(ask(strict=True)))
        return reply.deviations, [d for c in chunks for d in c.deviations]

    assert with_vendor(dialects, work) == ((), [])


@pytest.mark.parametrize("dialects", [OPENAI, GOOGLE, OLLAMA], ids=lambda d: d[0])
def test_vectors_and_models(dialects):
    async def work(vendor, backend):
        found = await backend.embed(EmbedRequest(model="e", input=("a b", "c")))
        return found.vectors, [c.id for c in await backend.models()]

    vectors, models = with_vendor(dialects, work)

    assert [len(v) for v in vectors] == [4, 4]
    assert models == ["mock-1", "mock-2"]


def test_tokens_are_counted_where_there_is_a_route_for_it():
    async def count(vendor, backend):
        return await backend.count(ask())

    assert with_vendor(ANTHROPIC, count) == with_vendor(GOOGLE, count) == 2
    with pytest.raises(BackendError, match="no count route"):
        with_vendor(OPENAI, count)


def test_headers_of_a_row_are_sent_and_win_over_the_dialects_own():
    async def run():
        async with mock_vendor() as vendor:
            headers = {"X-Title": "t", "x-goog-api-key": "row"}
            backend = Remote(vendor.url, token="k", dialects=GOOGLE, headers=headers)
            await backend.generate(ask())
            await backend.close()
            return {k.lower(): v for k, v in vendor.invoice[0].headers.items()}

    sent = asyncio.run(run())

    assert (sent["x-title"], sent["x-goog-api-key"]) == ("t", "row")
    assert "authorization" not in sent


class Pictures:
    """A server of images; `asked` are the paths."""

    def __init__(self):
        self.asked = []

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/{name:.*}", self.give)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    async def give(self, request):
        self.asked.append(request.path)
        if request.path == "/away.png":
            raise web.HTTPFound("http://169.254.169.254/x.png")
        if request.path == "/round.png":
            raise web.HTTPFound("/round.png")
        if request.path == "/moved.png":
            raise web.HTTPFound("x.png")
        if request.path == "/none.png":
            raise web.HTTPNotFound
        return web.Response(body=b"<svg/>" if request.path == "/x.svg" else PNG)

    async def __aexit__(self, *_):
        await self.runner.cleanup()


def with_picture(dialects, name, images):
    async def work(vendor, backend):
        async with Pictures() as pictures:
            try:
                await backend.generate(ask(ImagePart(f"{pictures.url}/{name}")))
            except BackendError as error:
                return error, pictures.asked, len(vendor.invoice)
            return vendor.invoice[0].body, pictures.asked, f"{pictures.url}/{name}"

    return with_vendor(dialects, work, images=images)


@pytest.mark.parametrize("dialects", [GOOGLE, OLLAMA], ids=lambda d: d[0])
def test_an_image_by_url_is_fetched_for_protocols_that_want_bytes(dialects):
    body, asked, _ = with_picture(dialects, "moved.png", Images(allow_private=True))

    data = base64.b64encode(PNG).decode()
    assert asked == ["/moved.png", "/x.png"]
    if dialects is GOOGLE:
        assert body["contents"][0]["parts"][1] == {
            "inlineData": {"mimeType": "image/png", "data": data}
        }
    else:
        assert body["messages"][0]["images"] == [data]


def test_an_image_by_url_stays_a_url_where_the_vendor_fetches_it():
    body, asked, url = with_picture(OPENAI, "x.png", Images(allow_private=True))

    assert asked == []
    assert body["messages"][0]["content"][1]["image_url"]["url"] == url


@pytest.mark.parametrize(
    ("name", "images", "why"),
    [
        ("x.png", Images(), "not public"),
        ("x.svg", Images(allow_private=True), "no PNG"),
        ("x.png", Images(limit_bytes=10, allow_private=True), "more than 10 bytes"),
        ("round.png", Images(allow_private=True), "more than 3 times"),
        ("none.png", Images(allow_private=True), "answers 404"),
    ],
)
def test_an_image_that_must_not_be_used_is_refused_before_asking(name, images, why):
    error, _, sent = with_picture(OLLAMA, name, images)

    assert (error.code, error.details["status"], sent) == ("bad-image", 400, 0)
    assert why in error.message


def test_an_image_may_not_be_reached_by_another_name_of_this_machine():
    takes_url = DIALECTS.create("ollama_chat").takes_url

    for url in (
        "http://localhost/x",
        "http://[::1]/x",
        "http://2130706433/x",
        "http://169.254.169.254/x",
    ):
        with pytest.raises(BackendError) as caught:
            asyncio.run(Images().inline(ask(ImagePart(url)), takes_url, Http(), None))
        assert caught.value.code == "bad-image"


def test_a_redirect_to_a_private_address_is_not_followed(monkeypatch):
    """The first address counts as public here, as it would on the internet; the second does not."""
    really = address.is_public
    monkeypatch.setattr(address, "is_public", lambda a: a == "127.0.0.1" or really(a))

    error, asked, sent = with_picture(OLLAMA, "away.png", Images())

    assert asked == ["/away.png"]
    assert "169.254.169.254" in error.message
    assert sent == 0


@pytest.mark.parametrize(
    ("dialects", "protocol", "path"),
    [
        (GOOGLE, vendor_protocols.Google, "/v1beta/models/m:streamGenerateContent"),
        (OLLAMA, vendor_protocols.Ollama, "/api/chat"),
    ],
    ids=["google", "ollama"],
)
def test_a_stream_reset_at_any_byte_gives_a_prefix_and_never_a_wrong_text(dialects, protocol, path):
    said = vendor_protocols.Said("m", True, ["red green"], "red green")
    answer = vendor_protocols.Answer(vendor_protocols.words_of("red é", 3), "stop", 2, 0)
    full = b"".join(data for data, _ in protocol.stream(path, said, answer, {}))
    whole_from = len(full) - len(full.rstrip())  # the line ends after the last event

    async def run(at):
        async with upstream([head(kind=protocol.kind) + full[:at], Reset]) as up:
            backend, texts = Remote(up.url, dialects=dialects), []
            try:
                async for chunk in backend.stream(ask()):
                    texts.append(chunk.text)
            except BackendError:
                return "".join(texts), False
            finally:
                await backend.close()
            return "".join(texts), True

    for at in range(0, len(full) + 1, 23):
        text, ended = asyncio.run(run(at))
        assert answer.text.startswith(text)
        assert not ended or at >= len(full) - whole_from
