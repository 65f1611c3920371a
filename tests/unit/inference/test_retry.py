"""One retry loop: what is asked again, when, how often, and what is recorded."""

import asyncio
import time

import pytest

from stead.core.errors import BackendError, BackendTimeout, RateLimited
from stead.inference.backend import Backend
from stead.inference.backends.echo import Echo
from stead.inference.breaker import Breaker, BreakerPolicy
from stead.inference.retry import Budget, Retry, RetryPolicy
from stead.messages import Call, Chunk, GenerateRequest, Message, ModelCard, Usage

LOST = BackendError("connection-lost", "gone")
ALWAYS_CLOSED = BreakerPolicy(failures=10**9, window=10**9)


class Clock:
    """A time that passes only by waiting."""

    def __init__(self):
        self.now = 1000.0
        self.waits = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


class Scripted(Backend):
    """Raises the errors of a list, then answers like `Echo`; streams break off after `content` words."""

    def __init__(self, *errors, content=0):
        self.errors = list(errors)
        self.content = content
        self.asked = 0

    async def generate(self, request, deadline=None):
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return await Echo("m").generate(request, deadline)

    async def stream(self, request, deadline=None):
        self.asked += 1
        yield Chunk(id="x", model="m", created=0, role="assistant")
        for i in range(self.content):
            yield Chunk(id="x", model="m", created=0, text=f"word{i} ")
        if self.errors:
            raise self.errors.pop(0)
        async for chunk in Echo("m").stream(request, deadline):
            yield chunk

    async def models(self):
        return [ModelCard(id="m")]


def ask(text="one two three", **more):
    return GenerateRequest(model="m", messages=(Message("user", text),), call=Call(id="c"), **more)


def retry(inner, clock=None, breaker=ALWAYS_CLOSED, **policy):
    clock = Clock() if clock is None else clock
    circuit = Breaker("e", breaker, clock=clock)
    return Retry(inner, "e", RetryPolicy(**policy), circuit, clock=clock, sleep=clock.sleep)


async def read(stream):
    return "".join([chunk.text async for chunk in stream])


@pytest.mark.spec("000-087", "001-043")
def test_two_failures_and_then_an_answer_are_three_attempts() -> None:
    request, inner = ask(), Scripted(LOST, BackendError("x", "x", upstream_status=503))

    reply = asyncio.run(retry(inner).generate(request))

    assert reply.text == "one two three"
    assert [(a.outcome, a.code) for a in request.call.attempts] == [
        ("failed", "connection-lost"),
        ("failed", "x"),
        ("ok", None),
    ]
    assert request.call.attempts[2].usage == Usage(3, 3)


@pytest.mark.spec("000-087")
@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (BackendError("upstream-refused", "x", upstream_status=400), 1),
        (BackendError("upstream-auth", "x", upstream_status=401), 1),
        (BackendError("bad-answer", "x"), 1),
        (BackendTimeout("deadline", "x"), 1),
        *[(BackendError("x", "x", upstream_status=s), 3) for s in (408, 409, 425, 500, 529)],
        (RateLimited("rate-limited", "x"), 3),
        (BackendTimeout("first-byte-timeout", "x"), 3),
    ],
)  # fmt: skip
def test_only_what_may_get_better_is_asked_again(error: BackendError, asked: int) -> None:
    inner = Scripted(*[error] * 9)

    with pytest.raises(BackendError) as raised:
        asyncio.run(retry(inner).generate(ask()))

    assert raised.value is error
    assert inner.asked == asked


def test_a_stream_is_begun_again_before_content_and_never_after() -> None:
    request, before = ask(), Scripted(LOST)
    late, after = ask(), Scripted(LOST, content=2)
    text = []

    async def broken():
        async for chunk in retry(after).stream(late):
            text.append(chunk.text)

    assert asyncio.run(read(retry(before).stream(request))) == "one two three"
    with pytest.raises(BackendError, match="gone"):
        asyncio.run(broken())

    assert (before.asked, after.asked) == (2, 1)
    assert "".join(text) == "word0 word1 "
    assert [a.outcome for a in request.call.attempts] == ["failed", "ok"]
    (cut,) = late.call.attempts
    assert (cut.outcome, cut.code, cut.estimated) == ("cut", "connection-lost", True)
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 3  # twelve bytes


def test_a_client_that_leaves_is_recorded_with_what_was_sent() -> None:
    request = ask()

    async def leave():
        stream = retry(Echo("m")).stream(request)
        async for _ in stream:
            break
        await stream.aclose()

    asyncio.run(leave())

    (attempt,) = request.call.attempts
    assert (attempt.outcome, attempt.estimated) == ("cancelled", True)
    assert attempt.usage is not None
    assert attempt.usage.completion_tokens == 1


def test_a_cancelled_request_is_recorded_and_lets_the_probe_go() -> None:
    request, clock = ask(), Clock()
    inner = retry(Echo("m", delay_s=60), clock, BreakerPolicy(failures=1, probe_s=1))
    inner.breaker.failed()
    clock.now += 2

    async def cancel():
        task = asyncio.create_task(inner.generate(request))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(cancel())

    assert [a.outcome for a in request.call.attempts] == ["cancelled"]
    inner.breaker.enter()  # the next one may probe


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_endpoint_asks_to_wait_is_waited_exactly(stream: bool) -> None:
    clock = Clock()
    inner = Scripted(RateLimited("rate-limited", "x", retry_after_s=7.25), LOST)
    backend = retry(inner, clock, base_s=0.5)

    if stream:
        asyncio.run(read(backend.stream(ask())))
    else:
        asyncio.run(backend.generate(ask()))

    assert clock.waits[0] == 7.25
    assert 0 <= clock.waits[1] <= 1.0


def test_a_wait_that_the_deadline_does_not_allow_fails_at_once() -> None:
    clock = Clock()
    inner = Scripted(RateLimited("rate-limited", "x", retry_after_s=30.0))

    with pytest.raises(RateLimited):
        asyncio.run(retry(inner, clock).generate(ask(), clock.now + 20))
    again = Scripted(RateLimited("rate-limited", "x", retry_after_s=3600.0))
    with pytest.raises(RateLimited):
        asyncio.run(retry(again, clock).generate(ask()))

    assert clock.waits == []


@pytest.mark.spec("000-087")
def test_waits_are_spread_evenly_from_zero_to_twice_the_one_before() -> None:
    """Full jitter: a Kolmogorov-Smirnov distance below the 1 % point, 1.63 / sqrt(n)."""
    clock, n = Clock(), 400
    backend = retry(Scripted(*[LOST] * n * 3), clock, base_s=1.0, share=1.0, reserve=1e9)

    async def all_of_them():
        for _ in range(n):
            with pytest.raises(BackendError):
                await backend.generate(ask())

    asyncio.run(all_of_them())

    for place, top in ((0, 1.0), (1, 2.0)):
        waits = sorted(w / top for w in clock.waits[place::2])
        gap = max(max(abs(w - i / n), abs(w - (i + 1) / n)) for i, w in enumerate(waits))
        assert len(waits) == n
        assert gap < 1.63 / n**0.5


def test_retries_stay_a_fifth_of_the_requests_when_all_fail() -> None:
    inner, clock, n = Scripted(*[LOST] * 5000), Clock(), 1000
    backend = retry(inner, clock, max_attempts=5)

    async def all_of_them():
        for _ in range(n):
            with pytest.raises(BackendError):
                await backend.generate(ask())

    asyncio.run(all_of_them())

    assert n < inner.asked <= 1.2 * n + 10  # and the reserve of ten


def test_an_open_circuit_is_not_asked_and_ends_the_retries() -> None:
    inner, clock = Scripted(*[LOST] * 100), Clock()
    backend = retry(inner, clock, BreakerPolicy(failures=5, probe_s=60), max_attempts=9)

    with pytest.raises(BackendError, match="gone"):
        asyncio.run(backend.generate(ask()))
    asked, request = inner.asked, ask()
    with pytest.raises(BackendError) as raised:
        asyncio.run(backend.generate(request))

    assert (asked, inner.asked, raised.value.code) == (5, 5, "circuit-open")
    assert request.call.attempts == []


def test_each_attempt_has_its_own_time_and_the_request_one_for_all() -> None:
    policy = RetryPolicy(attempt_s=0.02, base_s=0.001, max_attempts=2)
    slow = Retry(Echo("m", delay_s=5), "e", policy)

    with pytest.raises(BackendTimeout) as each:
        asyncio.run(slow.generate(ask()))
    with pytest.raises(BackendTimeout, match=r"longer than 0.02 s"):
        asyncio.run(read(slow.stream(ask())))
    slow.breaker.succeeded()
    with pytest.raises(BackendTimeout) as whole:
        asyncio.run(slow.generate(ask(), time.monotonic() + 0.01))

    assert (each.value.code, whole.value.code) == ("attempt-timeout", "deadline")


def test_the_budget_fills_by_requests_up_to_its_reserve() -> None:
    budget = Budget(0.2, 1.0)

    assert [budget.take(), budget.take()] == [True, False]
    for _ in range(5):
        budget.request()

    assert [budget.take(), budget.take()] == [True, False]


def test_a_long_stream_may_take_longer_than_an_attempt() -> None:
    steady = Retry(Echo("m", delay_s=0.02), "e", RetryPolicy(attempt_s=0.1, max_attempts=1))

    assert asyncio.run(read(steady.stream(ask("word " * 10)))) == "word " * 10


def test_limits_of_our_own_are_no_fault_of_the_endpoint() -> None:
    inner = Scripted(*[RateLimited("limit-reached", "x", retry_after_s=0.0)] * 30)
    backend = retry(inner, breaker=BreakerPolicy(failures=2))

    for _ in range(5):
        with pytest.raises(RateLimited):
            asyncio.run(backend.generate(ask()))

    assert (inner.asked, backend.breaker.state) == (5, "closed")


def test_streams_that_break_off_open_the_circuit_and_a_passed_deadline_does_not() -> None:
    states = []
    for error in (LOST, BackendTimeout("deadline", "late")):
        inner = Scripted(*[error] * 30, content=1)
        backend = retry(inner, breaker=BreakerPolicy(failures=99, window=20))
        for _ in range(20):
            with pytest.raises(BackendError):
                asyncio.run(read(backend.stream(ask())))
            if backend.breaker.state != "closed":
                break
        states.append(backend.breaker.state)

    assert states == ["open", "closed"]
