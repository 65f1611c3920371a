"""Candidates one after another: who answers, who is never asked, and what is told about it."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stead.core.errors import BackendError, BackendTimeout, ConfigError, NotFound, RateLimited
from stead.inference.backend import Backend
from stead.inference.backends.echo import Echo
from stead.inference.candidate import Candidate
from stead.inference.plan import Bounds
from stead.inference.policy import make
from stead.inference.retry import Retry, RetryPolicy
from stead.inference.route import Route
from stead.inference.strict import Strict, declare
from stead.messages import (
    Call,
    Chunk,
    Deviation,
    EmbedRequest,
    GenerateRequest,
    ImagePart,
    Message,
    Sampling,
    TextPart,
    Usage,
)

DOWN = BackendError("connection-refused", "down")


class Named(Echo):
    """Answers with its own name; fails with `error`, after `words` words if it streams."""

    def __init__(self, name, error=None, *, words=0, delay_s=0.0):
        super().__init__(name, delay_s=delay_s)
        self.name, self.error, self.words = name, error, words
        self.asked = []
        self.closed = 0

    async def generate(self, request, deadline=None):
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        return await super().generate(request, deadline)

    async def stream(self, request, deadline=None) -> AsyncIterator[Chunk]:
        self.asked.append(request)
        for _ in range(self.words):
            yield Chunk(id="x", model=self.name, created=0, text=f"{self.name} ")
        if self.error is not None:
            raise self.error
        async for chunk in super().stream(request, deadline):
            yield chunk

    async def embed(self, request, deadline=None):
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        return await super().embed(request, deadline)

    async def count(self, request, deadline=None):
        if self.error is not None:
            raise self.error
        return 7

    async def close(self):
        self.closed += 1


def ask(model="auto", text="hi", tags=(), models=None, **more):
    call = Call(id="c", tags=frozenset(tags), models=models)
    return GenerateRequest(model=model, messages=(Message("user", text),), call=call, **more)


def candidate(backend, **facts):
    return Candidate(backend.name, backend.name, backend, **facts)


def route(*backends, policy="ordered", choose=None, **bounds):
    found = [b if isinstance(b, Candidate) else candidate(b) for b in backends]
    made = make(policy) if isinstance(policy, str) else policy
    return Route(found, made, bounds=Bounds(**bounds), choose=choose)


def generate(backend, request, deadline=None):
    return asyncio.run(backend.generate(request, deadline))


async def read(stream):
    return [chunk async for chunk in stream]


@pytest.mark.spec("000-070", "004-011")
def test_primary_then_fallbacks_in_order_and_the_answer_says_who_and_why() -> None:
    a, b, c = Named("a", DOWN), Named("b", RateLimited("rate-limited", "slow")), Named("c")
    request = ask()

    reply = generate(route(a, b, c), request)

    assert reply.model == "c"
    told = [(d.kind, d.detail) for d in reply.deviations]
    assert told == [
        ("fallback_used", "a → b: connection-refused"),
        ("fallback_used", "b → c: rate-limited"),
    ]
    assert list(reply.deviations) == request.call.deviations
    assert (len(a.asked), len(b.asked), len(c.asked)) == (1, 1, 1)


def test_when_nobody_answers_the_last_error_lists_everyone() -> None:
    b = RateLimited("rate-limited", "slow", retry_after_s=9)
    unset = candidate(Named("z"), unavailable="Z_API_KEY is not set")

    with pytest.raises(RateLimited) as raised:
        generate(route(Named("a", DOWN), Named("b", b), unset), ask())

    assert raised.value.details["attempts"] == [
        {"candidate": "a", "code": "connection-refused"},
        {"candidate": "b", "code": "rate-limited"},
        {"candidate": "z", "code": "skipped", "reason": "Z_API_KEY is not set"},
    ]


def test_a_stream_falls_back_before_its_first_content_only() -> None:
    early, late, b = Named("a", DOWN), Named("a", DOWN, words=2), Named("b")
    chunks = asyncio.run(read(route(early, b).stream(ask(text="one two"))))
    texts = []

    async def broken():
        async for chunk in route(late, b).stream(ask()):
            texts.append(chunk.text)

    with pytest.raises(BackendError, match="down"):
        asyncio.run(broken())

    assert "".join(c.text for c in chunks) == "one two"
    assert {c.model for c in chunks} == {"b"}
    assert chunks[0].deviations[0].detail == "a → b: connection-refused"
    assert not any(c.deviations for c in chunks[1:])
    assert texts == ["a ", "a "]
    assert len(b.asked) == 1


@pytest.mark.parametrize("tag", ["private", "local_only"])
def test_a_private_request_never_reaches_a_public_place(tag: str) -> None:
    here, cloud = Named("here", DOWN), Named("cloud")
    chain = route(candidate(here, place="local"), candidate(cloud, place="public"))
    closed = route(candidate(cloud, place="public"), choose=lambda _: ["cloud"])

    for request in (ask(tags=[tag]), ask("cloud", tags=[tag])):
        with pytest.raises(BackendError) as raised:
            generate(chain, request)
        skipped = raised.value.details["attempts"][-1]
        assert (skipped["candidate"], skipped["code"]) == ("cloud", "skipped")
    with pytest.raises(BackendError) as nobody:
        generate(closed, ask(tags=[tag]))

    assert nobody.value.code == "no-candidate"
    assert cloud.asked == []
    assert generate(chain, ask()).model == "cloud"


def test_a_strategy_may_forbid_places_for_all_its_requests() -> None:
    cloud = Named("cloud")
    closed = route(
        candidate(Named("here", DOWN), place="local"),
        candidate(cloud, place="public"),
        places=frozenset({"local"}),
    )

    with pytest.raises(BackendError, match="down"):
        generate(closed, ask())

    assert cloud.asked == []


@pytest.mark.parametrize(
    "error",
    [
        BackendError("upstream-refused", "bad", status=400),
        BackendTimeout("deadline", "late"),
    ],
    ids=["input", "deadline"],
)
def test_a_refused_input_and_the_deadline_stop_a_fallback(error: BackendError) -> None:
    b = Named("b")

    with pytest.raises(BackendError) as raised:
        generate(route(Named("a", error), b), ask())

    assert raised.value is error
    assert b.asked == []


class Dear:
    """A thousand picodollars per token."""

    def cost(self, usage: Usage) -> int:
        return 1000 * usage.total_tokens


def test_the_money_ceiling_counts_what_was_spent_and_stops_a_fallback() -> None:
    spent = Retry(Named("a", DOWN, words=1), "a", RetryPolicy(max_attempts=1), prices=Dear())
    b = Named("b")
    dear = candidate(b, prices=Dear(), place="public")
    chain = route(Candidate("a", "a", spent, prices=Dear()), dear, max_cost=30_000)
    cheap, costly = Sampling(max_tokens=10), Sampling(max_tokens=100)

    with pytest.raises(BackendError) as nobody:
        generate(chain, ask(sampling=costly))
    generate(chain, ask(sampling=cheap))
    unpriced = route(candidate(Named("x"), place="public"), max_cost=1)
    with pytest.raises(BackendError, match="price is not known"):
        generate(unpriced, ask())

    assert nobody.value.code == "no-candidate"
    assert len(b.asked) == 1


def test_candidates_that_cannot_are_not_asked() -> None:
    small = candidate(Named("small"), context=10)
    blind = candidate(Named("blind"), capabilities=frozenset({"tools"}))
    seeing = candidate(Named("seeing"), capabilities=frozenset({"vision", "tools"}))
    chain = route(small, blind, seeing)
    picture = (TextPart("what is it?"), ImagePart("data:image/png;base64,AA"))
    asked = GenerateRequest(model="auto", messages=(Message("user", picture),))

    reply = generate(chain, asked)

    assert reply.model == "seeing"
    assert chain.plan(asked).skipped.keys() == {"small", "blind"}
    assert generate(chain, ask(text="long " * 50)).model == "blind"
    assert generate(chain, ask()).model == "small"


def test_rules_put_their_target_in_front_and_may_not_name_nobody() -> None:
    def choose(request):
        return ["b"] if len(request.messages[0].text) > 10 else []

    chain = route(Named("a"), Named("b"), choose=choose)

    assert generate(chain, ask()).model == "a"
    reply = generate(chain, ask(text="a longer question"))
    assert (reply.model, reply.deviations) == ("b", ())
    with pytest.raises(ConfigError, match="nobody"):
        generate(route(Named("a"), choose=lambda _: ["nobody"]), ask())


@pytest.mark.spec("004-060")
def test_an_unknown_model_is_substituted_and_told_or_refused_with_near_names() -> None:
    reply = generate(route(Named("llama3.2:3b")), ask("gpt-5"))
    with pytest.raises(NotFound, match=r"did you mean 'llama3.2:3b'") as raised:
        generate(route(Named("llama3.2:3b"), fallback=False), ask("llama3.2"))

    assert reply.model == "llama3.2:3b"
    assert reply.deviations[0].detail == "gpt-5 → llama3.2:3b: it is not served here"
    assert raised.value.code == "model-not-found"


def test_a_named_model_is_asked_first_and_a_key_may_only_have_its_models() -> None:
    a, b = Named("a"), Named("b", DOWN)
    chain = route(a, b)

    assert generate(chain, ask("b")).model == "a"
    assert generate(chain, ask("a", models=frozenset({"a"}))).deviations == ()
    with pytest.raises(BackendError, match="down"):
        generate(chain, ask("b", models=frozenset({"b"})))
    assert generate(chain, ask(models=frozenset({"auto"}))).model == "a"


def test_without_fallback_only_the_first_is_asked() -> None:
    b = Named("b")

    with pytest.raises(BackendError, match="down"):
        generate(route(Named("a", DOWN), b, fallback=False), ask())

    assert b.asked == []


def test_an_unset_key_of_the_primary_is_told_and_the_next_answers() -> None:
    chain = route(candidate(Named("cloud"), unavailable="OPENAI_API_KEY is not set"), Named("here"))
    reply = generate(chain, ask())

    assert reply.model == "here"
    assert reply.deviations[0].detail == "cloud → here: OPENAI_API_KEY is not set"


def test_a_strict_request_is_never_answered_by_another() -> None:
    b = Named("b")
    chain = Strict(route(Named("a", DOWN), b))
    unset = Strict(route(candidate(Named("z"), unavailable="no key"), b))

    with pytest.raises(BackendError, match="down"):
        generate(chain, ask(strict=True))
    with pytest.raises(BackendError) as refused:
        generate(unset, ask(strict=True))
    with pytest.raises(BackendError):
        asyncio.run(read(chain.stream(ask(strict=True))))

    assert (refused.value.code, refused.value.details["status"]) == ("deviation", 400)
    assert b.asked == []


def test_strict_refuses_what_only_the_answer_tells() -> None:
    chain = route(Named("a", DOWN), Named("b"))

    class Loose(Backend):  # forgets that the request is strict
        def generate(self, request, deadline=None):
            return chain.generate(ask(), deadline)

        def stream(self, request, deadline=None):
            return chain.stream(ask(), deadline)

        async def models(self):
            return []

    for call in (
        lambda: generate(Strict(Loose()), ask(strict=True)),
        lambda: asyncio.run(read(Strict(Loose()).stream(ask(strict=True)))),
    ):
        with pytest.raises(BackendError) as raised:
            call()
        assert raised.value.code == "deviation"
    assert generate(Strict(Loose()), ask()).deviations


def test_embeddings_fall_back_to_the_same_model_only() -> None:
    same = [Candidate(n, "e", Named(n, e)) for n, e in (("one", DOWN), ("two", None))]
    other = Candidate("three", "f", Named("three"))
    asked = EmbedRequest(model="auto", input=("x",))

    reply = asyncio.run(route(*same).embed(asked))
    with pytest.raises(BackendError, match="down"):
        asyncio.run(route(same[0], other).embed(asked))

    assert reply.model == "two"


def test_count_asks_who_can_and_close_closes_each_once() -> None:
    shared = Named("a")
    chain = route(Named("z", BackendError("not-supported", "x")), Candidate("b", "b", shared))
    both = route(Candidate("a", "a", shared), Candidate("b", "b", shared))

    assert asyncio.run(chain.count(ask())) == 7
    asyncio.run(both.close())

    assert shared.closed == 1
    assert [card.id for card in asyncio.run(both.models())] == ["auto", "a", "b"]


def test_what_a_candidate_would_have_dropped_is_not_told_when_another_answers() -> None:
    class Dropping(Named):
        async def generate(self, request, deadline=None):
            declare(request, [Deviation("param_dropped", f"seed: {self.name} does not take it")])
            return await super().generate(request, deadline)

    failing, answering = ask(), ask()
    declare(failing, [Deviation("input_truncated", "before")])

    generate(route(Dropping("a", DOWN), Named("b")), failing)
    generate(route(Named("a", DOWN), Dropping("b")), answering)

    assert [d.kind for d in failing.call.deviations] == ["input_truncated", "fallback_used"]
    assert [d.kind for d in answering.call.deviations] == ["param_dropped", "fallback_used"]


def test_a_batch_with_failures_sends_each_prompt_and_keeps_the_order() -> None:
    class Picky(Named):
        async def generate(self, request, deadline=None):
            fails = int(request.messages[0].text.split()[-1]) % 3 == 0
            self.error = DOWN if fails else None
            return await super().generate(request, deadline)

    first, second = Picky("a"), Named("b")
    prompts = [f"prompt {i}" for i in range(20)]

    replies = asyncio.run(route(first, second).batch([ask(text=p) for p in prompts]))

    assert [r.text for r in replies] == prompts
    assert [r.model for r in replies] == ["b" if i % 3 == 0 else "a" for i in range(20)]
    sent = [r.messages[0].text for r in second.asked]
    assert sorted(sent) == sorted(p for i, p in enumerate(prompts) if i % 3 == 0)


def test_hedging_asks_a_second_one_and_cancels_the_loser_at_once() -> None:
    slow, quick = Named("slow", delay_s=30), Named("quick")
    wrapped = [Candidate(b.name, b.name, Retry(b, b.name)) for b in (slow, quick)]
    hedged = route(*wrapped, policy=make("ordered", hedge_after_s=0.02))
    whole, streamed = ask(), ask()

    begun = time.monotonic()
    reply = generate(hedged, whole)
    chunks = asyncio.run(read(hedged.stream(streamed)))

    assert time.monotonic() - begun < 5
    assert (reply.model, {c.model for c in chunks}) == ("quick", {"quick"})
    for request in (whole, streamed):
        assert [(a.candidate, a.outcome) for a in request.call.attempts] == [
            ("slow", "cancelled"),
            ("quick", "ok"),
        ]
        assert request.call.deviations[0].detail == "slow → quick: slow"


def test_hedging_waits_for_the_first_when_the_second_fails() -> None:
    first, second = Named("first", delay_s=0.1), Named("second", DOWN)
    hedged = route(first, second, policy=make("ordered", hedge_after_s=0.01))

    reply = generate(hedged, ask())

    assert (reply.model, reply.deviations, len(second.asked)) == ("first", (), 1)


outcomes = st.lists(
    st.sampled_from(["ok", "down", "refused", "cut", "unset"]), min_size=1, max_size=5
)


@given(outcomes, st.booleans())
@settings(deadline=None)
def test_random_failures_leave_one_answer_of_one_candidate_or_an_error(
    kinds: list[str], stream: bool
) -> None:
    errors = {
        "down": DOWN,
        "refused": BackendError("upstream-refused", "x", status=400),
        "cut": BackendError("stream-cut", "cut"),
    }
    made = [Named(f"c{i}", errors.get(k), words=int(k == "cut")) for i, k in enumerate(kinds)]
    facts = [{"unavailable": "x"} if k == "unset" else {} for k in kinds]
    chain = route(*(candidate(b, **f) for b, f in zip(made, facts, strict=True)))
    texts, error = [], None

    async def go():
        if not stream:
            texts.append((await chain.generate(ask())).model)
            return
        async for chunk in chain.stream(ask()):
            texts.append(chunk.model)

    try:
        asyncio.run(go())
    except BackendError as raised:
        error = raised.code

    tried = [k for k in kinds if k != "unset"]
    decisive = [k for k in tried if k in ("ok", "refused") or (k == "cut" and stream)]
    asked = [i for i, b in enumerate(made) if b.asked]
    assert all(len(b.asked) <= 1 for b in made)
    assert len(set(texts)) <= 1
    assert "unset" not in [kinds[i] for i in asked]
    if decisive:
        assert (error is None) == (decisive[0] == "ok")
        assert kinds[asked[-1]] == decisive[0]
    else:
        assert error is not None
        assert len(asked) == len(tried)
