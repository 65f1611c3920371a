"""Requests through retry and route against the fault catalogue, and the judge of what came of each.

A case is drawn from a seed, so that one number replays it. `judge` returns what is wrong, or "".
"""

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from tests.fakes import fault_catalogue as faults
from tests.fakes.asgi import call
from tests.fakes.upstream import Reset, upstream
from tests.fakes.vendor_protocols import vector_of

from stead.core.errors import BackendError, SteadError
from stead.core.http import Waits
from stead.inference.backends.echo import Echo
from stead.inference.breaker import Breaker, BreakerPolicy
from stead.inference.candidate import Candidate
from stead.inference.policy import make
from stead.inference.remote import Remote
from stead.inference.retry import Retry, RetryPolicy
from stead.inference.route import Route
from stead.inference.strict import Strict
from stead.messages import Call, EmbedRequest, GenerateRequest, Message
from stead.serving.asgi import App
from stead.serving.settings import Settings
from stead.wire.dialect import DIALECTS
from stead.wire.framing import frames

CHAT = ("openai_chat", "anthropic", "google")
ROUTES = {  # what the endpoint speaks: what the client may
    **dict.fromkeys(
        CHAT, ("python", "openai_chat", "anthropic", "ollama_chat", "openai_responses")
    ),
    "openai_completions": ("python", "openai_completions"),
    "openai_embeddings": ("python", "openai_embeddings"),
}
VECTORS = tuple(tuple(vector_of(text)) for text in faults.EMBED["input"])
UNSTREAMED = ("openai_embeddings",)
BODIES = {
    "openai_completions": {"prompt": "hi"},
    "openai_embeddings": faults.EMBED,
    "openai_responses": {"input": "hi"},
    "anthropic": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 100},
}
ENDS = (b"[DONE]", b"message_stop", b"response.completed")
MODES = ("none", "retry", "fallback")
WAITS = Waits(connect_s=0.4, first_s=0.4, between_s=0.4)
DEADLINE_S = 3.0
GRACE_S = 0.25
_NEVER_OPEN = BreakerPolicy(failures=10**6, window=10**6)


@dataclass(frozen=True)
class Case:
    """One request: which fault, where, in which protocol, streamed or not, and what may help."""

    fault: str
    place: int
    dialect: str
    stream: bool
    mode: str
    face: str


def draw(seed):
    """Return the case of a seed."""
    rng = random.Random(seed)
    kind = rng.choices(("placed", "whole", "harmless", "unreachable"), (5, 4, 2, 1))[0]
    dialect = rng.choices(list(ROUTES), (3, 3, 3, 1, 1))[0]
    stream = dialect != "openai_embeddings" and rng.random() < 0.6
    if kind == "unreachable":
        fault = rng.choice(faults.UNREACHABLE)
    else:
        table = {"placed": faults.PLACED, "whole": faults.WHOLE, "harmless": faults.HARMLESS}[kind]
        names = [n for n in table if stream or n not in faults.STREAM_ONLY]
        fault = rng.choice(names)
    place = rng.choice((-1, 0, 1, 2, 3, 5, 8)) if kind == "placed" else 0
    return Case(fault, place, dialect, stream, rng.choice(MODES), rng.choice(ROUTES[dialect]))


@dataclass
class Outcome:
    """What the client got, and what the endpoints saw."""

    text: str = ""
    error: str | None = None  # the code, or what the face's protocol says
    seconds: float = 0.0
    faulty: int = 0  # connections to the faulty endpoint
    healthy: int = 0
    call: Call | None = None
    odd: str = ""


async def run(case):
    """Do one case."""
    async with AsyncExitStack() as stack:
        found = faults.good(case.dialect, stream=case.stream)
        if case.fault in faults.UNREACHABLE:
            url, bad = stack.enter_context(faults.unreachable(case.fault)), None
        else:
            table = faults.PLACED | faults.WHOLE | faults.HARMLESS
            steps = table[case.fault](found, case.place)
            again = faults.script(found)
            scripted = (lambda n: again if n else steps) if case.mode == "retry" else steps
            bad = await stack.enter_async_context(upstream(scripted))
            url = bad.url
        ok = await stack.enter_async_context(upstream(faults.script(found)))
        route = Strict(_route(case, url, ok.url))
        record = Call(id="c")
        begun = time.monotonic()
        try:
            if case.face == "python":
                outcome = await _python(route, case, record, begun + DEADLINE_S)
            else:
                outcome = await _served(route, case)
        finally:
            await route.close()
        outcome.seconds = time.monotonic() - begun
        outcome.faulty = 0 if bad is None else bad.connections
        outcome.healthy = ok.connections
        outcome.call = record
        return outcome


def _route(case, url, other):
    attempts = 3 if case.mode == "retry" else 1
    limit_s = 1.2 if case.mode == "fallback" else None  # what drips may not use up the deadline
    policy = RetryPolicy(max_attempts=attempts, base_s=0.005, max_backoff_s=0.02, attempt_s=limit_s)

    def candidate(name, where):
        remote = Remote(where, token="k" * 20, dialects=(case.dialect,), waits=WAITS)
        breaker = Breaker(name, _NEVER_OPEN)
        return Candidate(name, "m", Retry(remote, name, policy, breaker), place="public")

    names = [("a", url)] + ([("b", other)] if case.mode == "fallback" else [])
    return Route([candidate(n, u) for n, u in names], make("ordered"))


async def _python(route, case, record, deadline):
    outcome = Outcome()
    try:
        if case.dialect == "openai_embeddings":
            asked = EmbedRequest(model="auto", input=tuple(faults.EMBED["input"]), call=record)
            outcome.text = _shown(await route.embed(asked, deadline))
            return outcome
        messages = (Message("user", "hi"),)
        request = GenerateRequest(model="auto", messages=messages, call=record)
        if case.dialect == "openai_completions":
            request = GenerateRequest(model="auto", prompt="hi", call=record)
        if not case.stream:
            outcome.text = (await route.generate(request, deadline)).choices[0].message.text
            return outcome
        async for chunk in route.stream(request, deadline):
            outcome.text += chunk.text
    except SteadError as error:
        outcome.error = error.code
    return outcome


def _shown(reply):
    """Vectors as what the judge compares."""
    return faults.TEXT if reply.vectors == VECTORS else str(reply.vectors)


async def _served(route, case):
    dialect = DIALECTS.create(case.face)
    settings = Settings(deadline_s=DEADLINE_S)
    app = App(route, settings)
    body = BODIES.get(case.face, {"messages": [{"role": "user", "content": "hi"}]})
    body = body | {"model": "auto"} | ({} if case.face in UNSTREAMED else {"stream": case.stream})
    answer = await call(app, dialect.path, body)
    outcome = Outcome()
    if answer.status != 200:
        outcome.error = str(answer.status)
        error = dialect.read_error(answer.status, answer.body, None)
        if "upstream" not in error.code and error.code not in ("rate-limited", "model-not-found"):
            outcome.odd = f"an error of another shape: {answer.body[:200]!r}"
        return outcome
    try:
        if case.face == "openai_embeddings":
            outcome.text = _shown(dialect.read_vectors(answer.body))
            return outcome
        if not case.stream:
            outcome.text = dialect.read_reply(answer.body).text
            return outcome
        reader, parser = dialect.stream_reader(), frames(dialect.framing).parser()
        for event in parser.feed(answer.body):
            for chunk in reader.feed(event):
                outcome.text += chunk.text
        if not reader.ended:
            outcome.odd = "a stream without end and without error"
    except SteadError as error:
        outcome.error = error.code
        if any(end in answer.body for end in ENDS):
            outcome.odd = "an error and a successful end"
    return outcome


def judge(case, outcome):
    """Return what is wrong with an outcome, "" when nothing is."""
    whole = outcome.text == faults.TEXT and outcome.error is None
    if outcome.odd:
        return outcome.odd
    if outcome.error is None and not whole:
        return f"a wrong answer was called right: {outcome.text!r}"
    if not faults.TEXT.startswith(outcome.text):
        return f"no prefix of the answer: {outcome.text!r}"
    if outcome.seconds > DEADLINE_S + GRACE_S:
        return f"it took {outcome.seconds:.2f} s"
    if case.fault in faults.HARMLESS and not whole:
        return f"odd but legal, and refused: {outcome.error}"
    if case.mode == "fallback" and not whole and not outcome.text:
        return f"nothing was delivered, and nobody took over: {outcome.error}"
    if outcome.text and outcome.error and outcome.healthy:
        return "another endpoint was asked after the commit point"
    if outcome.text and outcome.error and outcome.faulty > 1 and case.mode != "retry":
        return "asked again after the commit point"
    return _judge_record(case, outcome, whole)


def _judge_record(case, outcome, whole):
    if case.face != "python":
        return ""
    attempts = outcome.call.attempts
    answered = [a for a in attempts if a.outcome == "ok"]
    if len(answered) != int(whole):
        return f"the record says otherwise: {attempts}"
    if outcome.text and outcome.error and attempts[-1].outcome != "cut":
        return f"a cut stream is recorded as {attempts[-1].outcome}"
    if whole and case.mode == "fallback" and len(attempts) > 1:
        said = [d.kind for d in outcome.call.deviations]
        if said.count("fallback_used") != 1:
            return f"the fallback is not told: {said}"
    return ""


VARIANTS = {"as_is": b"\n", "crlf": b"\r\n", "cr": b"\r"}


async def reset_at(dialect, offsets, variant="as_is", *, together=16):
    """Reset the reference stream of a protocol after so many bytes each; return what is wrong."""
    found = faults.good(dialect, stream=True)
    data = found.body.replace(b"\n", VARIANTS[variant])
    case = Case("rst", 1, dialect, stream=True, mode="fallback", face="python")
    gate, wrong = asyncio.Semaphore(together), []

    async def one(offset):
        async with gate, upstream([found.start(), data[:offset], 0.0, Reset]) as bad:
            async with upstream(faults.script(found)) as ok:
                route = _route(case, bad.url, ok.url)
                record = Call(id="c")
                outcome = await _python(route, case, record, time.monotonic() + DEADLINE_S)
                await route.close()
            outcome.call, outcome.healthy, outcome.faulty = record, ok.connections, bad.connections
            said = judge(case, outcome)
            if not said and outcome.text and outcome.error and outcome.faulty + outcome.healthy > 1:
                said = "a second start"
            if said:
                wrong.append((offset, said))

    await asyncio.gather(*(one(o) for o in offsets))
    return wrong


class Stood:
    """How long this process stood still, `seconds` in all: another one had the processor."""

    def __init__(self):
        self.seconds = 0.0

    async def __aenter__(self):
        self._task = asyncio.create_task(self._watch())
        return self

    async def _watch(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            self.seconds += max(0.0, time.monotonic() - before - 0.012)

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait({self._task})


async def campaign(seeds, *, together=16):
    """Run the cases of many seeds; return the failures.

    A case that failed while the process stood still for a tenth of a second says nothing: it is repeated, three
    times at most.
    """
    gate = asyncio.Semaphore(together)
    failures = []

    async def judged(case):
        try:
            return judge(case, await run(case))
        except Exception as error:  # an untyped error is what this looks for
            return f"{type(error).__name__}: {error}"

    async def one(seed, stood):
        case = draw(seed)
        async with gate:
            for _ in range(4):
                before = stood.seconds
                wrong = await judged(case)
                if not wrong or stood.seconds - before < 0.1:
                    break
        if wrong:
            failures.append({"seed": seed, "case": str(case), "wrong": wrong})

    async with Stood() as stood:
        await asyncio.gather(*(one(s, stood) for s in seeds))
    return failures


def show(failures):
    """Return the failures as lines."""
    return "\n".join(json.dumps(f) for f in failures[:20])


ASK = GenerateRequest(model="m", messages=(Message("user", "hi"),))
PROBE_S = 0.05


async def retrying(url, *, times=1, breaks=True):
    """Ask an endpoint through the retry loop, as often; return how many answers there were."""
    policy = RetryPolicy(base_s=0.001, max_backoff_s=0.002)
    circuit = Breaker("e", None if breaks else _NEVER_OPEN)
    backend = Retry(Remote(url, waits=WAITS), "e", policy, circuit)
    answers = 0
    for _ in range(times):
        with suppress(SteadError):
            await backend.generate(ASK, time.monotonic() + DEADLINE_S)
            answers += 1
    await backend.close()
    return answers


class Down(Echo):
    """Fails while `down`; counts who asks."""

    def __init__(self):
        super().__init__("m")
        self.down, self.asked = True, 0

    async def generate(self, request, deadline=None):
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            raise BackendError("connection-refused", "down")
        return await super().generate(request, deadline)


async def failing(n, sleep, seed):
    """Fail n requests of two attempts each, waiting by `sleep`."""
    policy = RetryPolicy(max_attempts=2, base_s=1.0, share=1.0, reserve=1e9)
    backend = Retry(Down(), "e", policy, Breaker("e", _NEVER_OPEN), seed=seed, sleep=sleep)
    for _ in range(n):
        with suppress(BackendError):
            await backend.generate(ASK)


async def circuit():
    """Let an endpoint go down and come back; return what is wrong, and how long refusals took."""
    inner, wrong, fast = Down(), [], []
    backend = Retry(
        inner, "e", RetryPolicy(max_attempts=1), Breaker("e", BreakerPolicy(probe_s=PROBE_S))
    )

    async def ask():
        begun = time.monotonic()
        try:
            await backend.generate(ASK)
        except BackendError as error:
            if error.code == "circuit-open":
                fast.append(time.monotonic() - begun)
            return error.code
        return "ok"

    codes = [await ask() for _ in range(20)]
    if inner.asked > 5 or codes.count("circuit-open") < 15:
        wrong.append(f"asked {inner.asked} times before it opened")
    for up in (False, True):
        await asyncio.sleep(PROBE_S)
        inner.down, before = not up, inner.asked
        codes = await asyncio.gather(*(ask() for _ in range(20)))
        if inner.asked != before + 1 or codes.count("circuit-open") != 19:
            wrong.append(f"half-open let {inner.asked - before} through")
    if await ask() != "ok":
        wrong.append("not recovered after one probe")
    return wrong, fast
