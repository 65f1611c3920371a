"""Nobody waits for the answer any more: a local model stops at its next token."""

import asyncio

import pytest

from stead.messages import EmbedRequest, GenerateRequest, Sampling
from stead.models.load import load_model
from stead.models.writing.local import LocalBackend


@pytest.fixture
def counted(tiny_model):
    loaded = load_model(tiny_model)
    calls = []
    loaded.model.get_input_embeddings().register_forward_hook(lambda *_: calls.append(1))
    return LocalBackend.of(loaded), calls


ENDLESS = GenerateRequest(
    model="m", prompt="the", sampling=Sampling(max_tokens=200, logit_bias={"2": -100.0})
)


async def _until(calls, count):
    async with asyncio.timeout(20):
        while len(calls) < count:  # noqa: ASYNC110 - the hook runs in the model's thread
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("streamed", [True, False])
def test_cancelled_work_stops_within_a_token(counted, streamed):
    backend, calls = counted

    async def stream():
        async for _ in backend.stream(ENDLESS):
            pass

    async def run():
        task = asyncio.create_task(stream() if streamed else backend.generate(ENDLESS))
        await _until(calls, 3)
        task.cancel()
        await asyncio.wait({task})
        at_cancel = len(calls)
        await asyncio.sleep(0.3)  # many tokens' time for so small a model
        return at_cancel, len(calls)

    at_cancel, later = asyncio.run(run())

    assert at_cancel < 150
    assert later - at_cancel <= 2


def test_the_model_is_free_for_others_after_a_cancel(counted):
    backend, calls = counted

    async def run():
        task = asyncio.create_task(backend.generate(ENDLESS))
        await _until(calls, 3)
        task.cancel()
        reply = await backend.embed(EmbedRequest(model="m", input=("the",)))
        return len(reply.vectors), len(calls)

    vectors, count = asyncio.run(run())

    assert vectors == 1
    assert count < 150
