"""Many answers at once: the same as each alone, joined and left at any token, within the memory given."""

import asyncio
import time
from contextlib import closing

import pytest
import torch
from tests.fakes.families import saved
from transformers import Gemma2Config, MixtralConfig

from stead.core.errors import BackendTimeout, ResourceError, UsageError
from stead.messages import GenerateRequest, Message, Sampling
from stead.models.learner import Learner
from stead.models.load import load_model
from stead.models.writing.batch import cache_bytes_per_token, inference
from stead.models.writing.generate import generate
from stead.models.writing.local import LocalBackend
from stead.models.writing.prefix import PIECE
from stead.models.writing.schedule import PlainWriter, SlotWriter
from stead.models.writing.served import Serving

TEXTS = [
    "what is two plus two?", "the quick brown fox", "a small model", "one token after another. " * 9,
    "the", "the quick brown fox jumps over the lazy dog. " * 4,
]  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tiny_model):
    torch.set_num_threads(1)
    return load_model(tiny_model, dtype="fp32", device="cpu")


def make(tiny_model, **serving):
    return LocalBackend.of(
        load_model(tiny_model, dtype="fp32", device="cpu"), name="m", serving=Serving(**serving)
    )


def ask(text, **sampling):
    sampling = Sampling(**({"temperature": 0, "max_tokens": 20} | sampling))
    return GenerateRequest(model="m", prompt=text, sampling=sampling)


class _Seen(list):
    """A list that tells what was put into it."""

    def __init__(self, told):
        self.told = told

    def append(self, row):
        self.told.append(row)
        super().append(row)


async def gathered(backend, requests):
    return await asyncio.gather(*(backend.generate(r) for r in requests))


async def streamed(backend, request):
    return [chunk async for chunk in backend.stream(request)]


REQUESTS = [
    *(ask(t) for t in TEXTS),
    ask(TEXTS[0], temperature=0.9, seed=4),
    ask(TEXTS[1], temperature=1.2, top_p=0.9, top_k=50, seed=4, logprobs=2),
    ask(TEXTS[2], temperature=0.7, min_p=0.05, seed=9, frequency_penalty=0.5, repeat_penalty=1.1),
    ask(TEXTS[3], temperature=1.0, seed=1, logit_bias={"40": 5.0}, presence_penalty=0.3),
]


@pytest.mark.spec("004-065")
@pytest.mark.parametrize("fuse", [True, False])
def test_an_answer_is_the_slow_paths_own_alone_in_company_and_streamed(tiny_model, loaded, fuse):
    """Tolerance: none on the text; a near tie of two tokens within float32 rounding could differ."""
    backend = make(tiny_model, fuse=fuse)
    prompts = [backend._prompter.prompt_ids(r) for r in REQUESTS]
    stops = backend._tokenizer.stop_ids
    slow = generate(loaded, prompts, [r.sampling for r in REQUESTS], stop_ids=stops)

    together = asyncio.run(gathered(backend, REQUESTS))
    alone = [asyncio.run(backend.generate(r)) for r in REQUESTS]
    chunks = [asyncio.run(streamed(backend, r)) for r in REQUESTS]

    assert type(backend._scheduler._writer) is (SlotWriter if fuse else PlainWriter)
    assert [r.text for r in together] == [f.text for f in slow]
    assert [r.text for r in alone] == [f.text for f in slow]
    assert ["".join(c.text for c in each) for each in chunks] == [f.text for f in slow]
    assert [each[-1].usage.completion_tokens for each in chunks] == [len(f.ids) for f in slow]


def test_exact_answers_have_the_same_bits_alone_and_in_company(tiny_model):
    backend = make(tiny_model, exact=True)
    requests = [ask(t, logprobs=3) for t in TEXTS]

    together = asyncio.run(gathered(backend, requests))
    pairs = asyncio.run(gathered(backend, requests[:2]))
    alone = [asyncio.run(backend.generate(r)) for r in requests]

    assert [r.choices for r in together] == [r.choices for r in alone]  # log-probabilities, too
    assert [r.choices for r in pairs] == [r.choices for r in alone[:2]]


def test_a_request_joins_while_another_is_written_and_leaves_before_it(tiny_model):
    backend = make(tiny_model)

    async def both():
        long = asyncio.create_task(streamed(backend, ask("the", max_tokens=200)))
        while not backend._scheduler.at_work:  # noqa: ASYNC110 - another thread works
            await asyncio.sleep(0)
        short = await backend.generate(ask("a small", max_tokens=3))
        return short, long.done(), await long

    short, was_done, chunks = asyncio.run(both())

    assert short.usage.completion_tokens == 3
    assert not was_done
    assert chunks[-1].usage.completion_tokens == 200


def test_prompts_that_begin_alike_are_read_once_and_answered_the_same(tiny_model):
    backend, fresh = make(tiny_model), make(tiny_model)
    start = tuple(5 + i % 250 for i in range(PIECE))
    first = ask((*start, 40, 41, 42))
    second = ask((*start, 50, 51), logprobs=0)

    asyncio.run(backend.generate(first))
    warm = asyncio.run(backend.generate(second))
    cold = asyncio.run(fresh.generate(second))

    assert warm.usage.cached_tokens == PIECE
    assert cold.usage.cached_tokens == 0
    assert warm.choices == cold.choices


def test_rows_give_their_place_up_and_go_on_later_when_memory_is_short(tiny_model):
    rich, poor = make(tiny_model), make(tiny_model, budget_bytes=3 * 256 * 512)  # three rows
    asyncio.run(poor.generate(ask("a")))
    writer = poor._scheduler._writer
    requests = [ask(t, max_tokens=180) for t in TEXTS]
    writer.takes = lambda row: len(writer) < 6  # as if all were expected to be short
    put_back = []
    writer.put_back = _Seen(put_back)

    found = asyncio.run(gathered(poor, requests))

    assert [r.text for r in found] == [r.text for r in asyncio.run(gathered(rich, requests))]
    assert put_back


def test_what_can_never_fit_is_refused_and_harms_nobody(tiny_model):
    backend = make(tiny_model, budget_bytes=1 << 16)

    with pytest.raises(UsageError) as caught:
        asyncio.run(backend.generate(ask("the", max_tokens=10)))
    with pytest.raises(UsageError, match="no token 99999"):
        asyncio.run(backend.generate(ask((5, 99999))))

    assert caught.value.code == "no-memory"
    assert caught.value.details["param"] == "max_tokens"


def test_without_a_limit_an_answer_ends_where_the_memory_does(tiny_model):
    backend = make(tiny_model, budget_bytes=256 * 512)
    request = ask("the", max_tokens=None, logit_bias={"2": -100.0})

    reply = asyncio.run(backend.generate(request))

    assert reply.choices[0].finish_reason == "length"
    assert 100 < reply.usage.total_tokens == backend._scheduler.capacity < 256


def test_a_likelihood_is_scored_while_a_stream_goes_on(tiny_model):
    backend = make(tiny_model)
    score = GenerateRequest(
        model="m", prompt="the quick", echo=True, sampling=Sampling(max_tokens=0, logprobs=0)
    )

    async def both():
        long = asyncio.create_task(streamed(backend, ask("the", max_tokens=200)))
        while not backend._scheduler.at_work:  # noqa: ASYNC110 - another thread works
            await asyncio.sleep(0)
        found = await backend.generate(score)
        return found, long.done(), await long

    found, was_done, _ = asyncio.run(both())

    assert found.choices[0].logprobs
    assert not was_done


def test_too_many_waiting_are_turned_away_with_429(tiny_model):
    backend = make(tiny_model, rows=1, queue=2)

    async def crowd():
        asked = [backend.generate(ask("the", max_tokens=60)) for _ in range(12)]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(crowd())
    refused = [e for e in found if isinstance(e, ResourceError)]

    assert 1 <= len(refused) < 12
    assert {(e.code, e.details["status"]) for e in refused} == {("overloaded", 429)}


def test_cancelled_requests_leave_and_the_others_stay(tiny_model):
    backend = make(tiny_model)

    async def run():
        endless = [ask(t, max_tokens=150, logit_bias={"2": -100.0}) for t in TEXTS[:3]]
        tasks = [asyncio.create_task(backend.generate(r)) for r in endless]
        while backend._scheduler.at_work < 3:  # noqa: ASYNC110 - another thread works
            await asyncio.sleep(0.001)
        tasks[0].cancel()
        tasks[2].cancel()
        late = backend.generate(endless[1], deadline=time.monotonic() + 0.01)
        found = await asyncio.gather(*tasks, late, return_exceptions=True)
        return found, backend._scheduler.at_work

    found, left = asyncio.run(run())

    assert [type(f) for f in (found[0], found[2], found[3])] == [
        asyncio.CancelledError, asyncio.CancelledError, BackendTimeout,
    ]  # fmt: skip
    assert found[1].usage.completion_tokens == 150
    assert left == 0
    assert len(backend._scheduler._writer) == 0


def test_several_streamed_choices_are_those_of_the_whole_answer(tiny_model):
    backend = make(tiny_model)
    request = ask("a small model", temperature=1.0, seed=7, n=3)

    whole, chunks = asyncio.run(backend.generate(request)), asyncio.run(streamed(backend, request))

    texts = ["".join(c.text for c in chunks if c.index == i and c.usage is None) for i in range(3)]
    assert texts == [c.message.text for c in whole.choices]
    assert len(set(texts)) == 3
    assert chunks[-1].usage == whole.usage


def test_a_fault_while_writing_is_told_to_all_who_wait_and_is_over_then(tiny_model):
    backend = make(tiny_model)
    asyncio.run(backend.generate(ask("the")))
    writer = backend._scheduler._writer

    def broken():
        raise RuntimeError("not enough memory: you tried to allocate 99 bytes")

    writer.step = broken
    with pytest.raises(ResourceError, match="99 bytes"):
        asyncio.run(backend.generate(ask("the")))

    assert asyncio.run(backend.generate(ask("the"))).text


def test_counting_is_what_the_prompt_takes(tiny_model):
    backend = make(tiny_model)
    chat = GenerateRequest(
        model="m", messages=(Message("user", "hello there"),), sampling=Sampling(max_tokens=1)
    )

    assert (
        asyncio.run(backend.count(chat)) == asyncio.run(backend.generate(chat)).usage.prompt_tokens
    )


def test_a_cache_is_counted_where_a_family_says_no_size_of_heads(tiny_model, tmp_path):
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    routed = MixtralConfig(vocab_size=4096, hidden_size=32, intermediate_size=48, num_local_experts=3, **heads)  # fmt: skip
    found = load_model(saved(routed, tiny_model, tmp_path / "base"), dtype="fp32", device="cpu")

    assert found.model.config.head_dim is None
    assert cache_bytes_per_token(found) == 2 * 2 * 2 * 8 * 4


def test_a_family_without_fused_attention_writes_while_it_is_trained(tiny_model, tmp_path):
    heads = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
        "head_dim": 8,
    }
    soft = Gemma2Config(vocab_size=4096, hidden_size=32, intermediate_size=48, **heads)
    found = load_model(saved(soft, tiny_model, tmp_path / "base"), dtype="fp32", device="cpu")

    with closing(Learner(found)), inference(found):
        assert found.model.config._attn_implementation == "eager"

    assert not found.model._supports_sdpa
