import asyncio
import math
import time

import pytest
import torch

from stead.core.errors import BackendError, BackendTimeout, UsageError
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.messages import EmbedRequest, GenerateRequest, Message, Sampling
from stead.models.load import load_model
from stead.models.writing.local import LocalBackend

ASK = (Message(role="user", content="what is two plus two?"),)
ANSWER = Message(role="assistant", content="four.")


@pytest.fixture(scope="module")
def backend(tiny_model):
    torch.set_num_threads(1)
    return LocalBackend.of(load_model(tiny_model, dtype="fp32", device="cpu"), name="tiny")


def chat(**fields):
    sampling = Sampling(**({"temperature": 0, "max_tokens": 12} | fields))
    return GenerateRequest(model="tiny", messages=ASK, sampling=sampling)


def run(awaitable):
    return asyncio.run(awaitable)


def test_a_chat_is_rendered_once_and_answered_like_its_own_text(backend, tiny_model):
    text = ChatTemplate.open(tiny_model).render(ASK, add_generation_prompt=True)
    ids = tuple(TextTokenizer.open(tiny_model).encode(text).ids)
    plain = GenerateRequest(model="tiny", prompt=ids, sampling=chat().sampling)

    replies = run(backend.batch([chat(), plain]))

    assert replies[0].text == replies[1].text != ""
    assert replies[0].usage.prompt_tokens == len(ids)
    assert replies[0].model == "tiny"
    assert replies[0].choices[0].finish_reason == "length"
    assert replies[0].deviations == ()


def test_a_stream_adds_up_to_the_whole_answer_and_ends_with_usage(backend):
    async def collect():
        return [chunk async for chunk in backend.stream(chat(logprobs=1))]

    whole, chunks = run(backend.generate(chat(logprobs=1))), run(collect())

    assert "".join(c.text for c in chunks) == whole.text
    assert chunks[0].role == "assistant"
    assert chunks[-2].finish_reason == "length"
    assert chunks[-1].usage == whole.usage
    streamed = [t.id for c in chunks for t in c.logprobs]
    assert streamed == [t.id for t in whole.choices[0].logprobs]


@pytest.mark.spec("004-003")
def test_a_stream_goes_on_while_a_batch_runs(backend):
    async def both():
        order = []

        async def batch():
            await backend.batch([chat(max_tokens=150)] * 4)
            order.append("batch")

        async def stream():
            async for _ in backend.stream(chat(max_tokens=4)):
                pass
            order.append("stream")

        await asyncio.gather(batch(), stream())
        return order

    assert run(both()) == ["stream", "batch"]


@pytest.mark.spec("003-079")
def test_the_likelihood_of_an_answer_is_the_loss_a_training_step_sees(backend, tiny_model):
    request = GenerateRequest(
        model="tiny",
        messages=(*ASK, ANSWER),
        echo=True,
        sampling=Sampling(max_tokens=0, logprobs=0),
    )
    found = run(backend.generate(request)).choices[0].logprobs

    tokenizer = TextTokenizer.open(tiny_model)
    before = ChatTemplate.open(tiny_model).render(ASK, add_generation_prompt=True)
    ids = tokenizer.encode(before + "four.<|im_end|>").ids
    start = len(tokenizer.encode(before).ids)
    model = backend._loaded.model
    labels = torch.tensor([[-100] * start + ids[start:]])
    with torch.no_grad():
        loss = float(model(input_ids=torch.tensor([ids]), labels=labels).loss)
    assert [t.id for t in found] == ids[start:]
    assert -math.fsum(t.logprob for t in found) / len(found) == pytest.approx(loss, abs=1e-5)


@pytest.mark.spec("003-079")
def test_padding_beside_longer_rows_does_not_change_a_likelihood(backend):
    def request(text):
        sampling = Sampling(max_tokens=0, logprobs=0)
        return GenerateRequest(model="tiny", prompt=text, echo=True, sampling=sampling)

    short, long = request("a small model"), request("a small model learns " * 6)
    alone = run(backend.generate(short)).choices[0].logprobs
    beside = run(backend.batch([short, long]))[0].choices[0].logprobs

    assert [t.id for t in alone] == [t.id for t in beside]
    assert [t.logprob for t in alone] == pytest.approx([t.logprob for t in beside], abs=1e-5)


def test_a_text_longer_than_the_context_is_scored_once_per_token(backend):
    text = "the quick brown fox " * 200
    sampling = Sampling(max_tokens=0, logprobs=0)
    reply = run(
        backend.generate(GenerateRequest(model="t", prompt=text, echo=True, sampling=sampling))
    )

    assert len(reply.choices[0].logprobs) == reply.usage.prompt_tokens - 1 > 256
    assert [d.kind for d in reply.deviations] == ["input_windowed"]


def test_a_prompt_too_long_is_cut_and_said_or_refused_when_strict(backend):
    long = GenerateRequest(model="t", prompt="the quick " * 300, sampling=Sampling(max_tokens=4))
    reply = run(backend.generate(long))

    assert [d.kind for d in reply.deviations] == ["input_truncated"]
    with pytest.raises(BackendError, match="input_truncated"):
        run(backend.generate(GenerateRequest(model="t", prompt="the quick " * 300, strict=True)))


def test_several_answers_differ_and_repeat_with_their_seed(backend):
    request = chat(temperature=1.0, seed=3, n=3)
    first, again = run(backend.generate(request)), run(backend.generate(request))

    assert [c.message.text for c in first.choices] == [c.message.text for c in again.choices]
    assert len({c.message.text for c in first.choices}) == 3
    assert [c.index for c in first.choices] == [0, 1, 2]


def test_vectors_are_of_length_one_and_in_order(backend):
    reply = run(backend.embed(EmbedRequest(model="t", input=("a small model", "the lazy dog"))))
    turned = run(backend.embed(EmbedRequest(model="t", input=("the lazy dog", "a small model"))))

    assert reply.vectors[0] == pytest.approx(turned.vectors[1], abs=1e-5)
    assert math.hypot(*reply.vectors[0]) == pytest.approx(1, abs=1e-5)
    with pytest.raises(UsageError):
        run(backend.embed(EmbedRequest(model="t", input=("a",), dimensions=2)))


def test_what_has_no_meaning_here_is_reported(backend):
    tool = {"type": "function", "function": {"name": "f"}}  # this template has no place for it
    request = GenerateRequest(model="t", messages=ASK, sampling=chat().sampling, tools=(tool,))
    assert [d.kind for d in run(backend.generate(request)).deviations] == ["param_dropped"]


def test_a_deadline_that_passed_stops_the_work(backend):
    with pytest.raises(BackendTimeout):
        run(backend.generate(chat(), deadline=time.monotonic() - 1))
    assert run(backend.generate(chat())).text  # the lock is free again


def test_a_chat_without_an_answer_has_nothing_to_score(backend):
    sampling = Sampling(max_tokens=0, logprobs=0)
    with pytest.raises(BackendError, match="last turn"):
        run(
            backend.generate(GenerateRequest(model="t", messages=ASK, echo=True, sampling=sampling))
        )


def test_the_model_is_listed_with_its_context(backend):
    (card,) = run(backend.models())

    assert (card.id, card.context_length) == ("tiny", 256)
