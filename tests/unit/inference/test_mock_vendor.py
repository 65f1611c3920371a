"""The mock vendors are honest: what they say, what they bill, and what a fault leaves of both."""

import asyncio

import pytest
from tests.fakes.vendors import Fault, mock_vendor

from stead.core.errors import BackendError
from stead.inference.remote import Remote
from stead.messages import EmbedRequest, GenerateRequest, Message

ASK = GenerateRequest(model="mock-1", messages=(Message("user", "one two three"),))


def with_vendor(work, **options):
    async def run():
        async with mock_vendor(**options) as vendor:
            backend = Remote(vendor.url, token="k")
            try:
                return await work(vendor, backend), vendor
            finally:
                await backend.close()

    return asyncio.run(asyncio.wait_for(run(), 10))


def test_whole_and_streamed_are_the_same_text_and_the_same_bill():
    async def work(vendor, backend):
        reply = await backend.generate(ASK)
        text = "".join([c.text async for c in backend.stream(ASK)])
        return reply, text

    (reply, text), vendor = with_vendor(work, key="k", cached=2)

    assert reply.text == text == vendor.text("one two three") == "one0 two1 three2 one3 two4 three5"
    assert [(b.prompt_tokens, b.completion_tokens, b.outcome) for b in vendor.invoice] == [
        (3, 6, "ok")
    ] * 2
    assert (reply.usage.prompt_tokens, reply.usage.cached_tokens) == (3, 2)
    assert vendor.cost(input=10, output=100, cached=1) == 2 * (1 * 10 + 2 * 1 + 6 * 100)


def test_a_cut_stream_is_billed_for_what_was_sent():
    async def work(vendor, backend):
        vendor.script(Fault(cut_after=2), Fault(status=429, retry_after="3"))
        texts = []

        async def read():
            async for chunk in backend.stream(ASK):
                texts.append(chunk.text)

        with pytest.raises(BackendError) as cut:
            await read()
        with pytest.raises(BackendError) as limited:
            await backend.generate(ASK)
        return "".join(texts), cut.value.code, limited.value.details["retry_after_s"]

    (text, code, wait), vendor = with_vendor(work)

    assert (text, code, wait) == ("one0 two1 ", "connection-lost", 3.0)
    assert [(b.outcome, b.completion_tokens) for b in vendor.invoice] == [
        ("cut", 2),
        ("refused", 0),
    ]


def test_embeddings_and_a_wrong_key():
    async def work(vendor, backend):
        found = await backend.embed(EmbedRequest(model="e", input=("a b", "c")))
        stranger = Remote(vendor.url, token="other")
        with pytest.raises(BackendError) as caught:
            await stranger.generate(ASK)
        await stranger.close()
        return found, caught.value.code

    (found, code), vendor = with_vendor(work, key="k")

    assert [len(v) for v in found.vectors] == [4, 4]
    assert vendor.invoice[0].prompt_tokens == found.usage.prompt_tokens == 3
    assert code == "upstream-auth"
