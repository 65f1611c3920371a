"""Try a strategy: whom sample requests would ask, why, and at what cost; or ask them for real and measure.

Knows nothing about terminals. A dry trial sends nothing.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stead.config.strategy import Strategy, Thresholds
from stead.core.errors import SteadError
from stead.inference.compose import Composed, chooser
from stead.messages import Call, GenerateRequest, ImagePart, Message, Sampling, TextPart

_PIXEL = (  # 1 × 1, so that a model that sees has something to look at
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY"
    "42YAAAAASUVORK5CYII="
)
_TOOL: dict[str, Any] = {  # Any: a JSON schema
    "type": "function",
    "function": {"name": "now", "parameters": {"type": "object", "properties": {}}},
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A request to try."""

    name: str
    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Step:
    """A candidate in the order of asking; `dollars` is what it costs at about most, None: unknown."""

    name: str
    model: str
    place: str
    dollars: float | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whom a sample would ask. `rules` are the conditions that hold, `skipped` says why others may not."""

    sample: str
    steps: tuple[Step, ...] = ()
    rules: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of asking for real."""

    sample: str
    seconds: float
    candidate: str = ""
    text: str = ""
    tokens: int = 0
    dollars: float | None = None
    deviations: tuple[str, ...] = ()
    error: str = ""


def samples(queries: Sequence[str] = (), max_tokens: int | None = None) -> list[Sample]:
    """Return a request per query; without one, a request of each kind that rules tell apart."""
    if queries:
        return [Sample(q, _request(Message("user", q), max_tokens)) for q in queries]
    image = Message("user", (TextPart("What is in this picture?"), ImagePart(_PIXEL)))
    texts = {
        "short": "Name three colors.",
        "long": "Sum this up: " + "the quick brown fox jumps over the lazy dog. " * 60,
        "code": "Explain this code:\n```python\ndef f(x):\n    return x + 1\n```",
    }
    found = [Sample(n, _request(Message("user", t), max_tokens)) for n, t in texts.items()]
    found.append(Sample("image", _request(image, max_tokens)))
    tools = _request(Message("user", "What time is it?"), max_tokens, tools=(_TOOL,))
    return [*found, Sample("tools", tools)]


def tagged(tries: Sequence[Sample], tags: frozenset[str]) -> list[Sample]:
    """Return the samples as requests with tags."""
    found = []
    for sample in tries:
        call = Call(id=uuid.uuid4().hex, attempts=[], deviations=[], tags=tags)
        found.append(Sample(sample.name, msgspec.structs.replace(sample.request, call=call)))
    return found


def _request(
    message: Message,
    max_tokens: int | None,
    tools: tuple[dict[str, Any], ...] = (),  # Any: JSON schemas
) -> GenerateRequest:
    return GenerateRequest(
        model="auto",
        messages=(message,),
        tools=tools,
        sampling=Sampling(max_tokens=max_tokens),
        call=Call(id=uuid.uuid4().hex, attempts=[], deviations=[]),
    )


def outlook(strategy: Strategy, made: Composed, sample: Sample) -> Outlook:
    """Say whom a sample would ask; sends nothing."""
    targets = set(chooser(strategy)(sample.request))
    held = tuple(
        f"{r.condition} → {r.target}" for r in strategy.routing_rules if r.target in targets
    )
    try:
        plan = made.route.plan(sample.request)
    except SteadError as error:
        return Outlook(sample.name, rules=held, error=error.message)
    steps = tuple(
        Step(c.name, c.model, c.place, _dollars(c.most(sample.request))) for c in plan.order
    )
    return Outlook(sample.name, steps, held, plan.skipped)


def _dollars(picodollars: int | None) -> float | None:
    return None if picodollars is None else picodollars / 1e12


async def answered(
    made: Composed,
    sample: Sample,
    deadline: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Answered:
    """Ask for real."""
    begun = clock()
    try:
        reply = await made.backend.generate(sample.request, deadline)
    except SteadError as error:
        return Answered(sample.name, clock() - begun, error=error.message)
    call = sample.request.call
    attempts = () if call is None else call.attempts
    costs = [a.cost for a in attempts if a.cost is not None]
    return Answered(
        sample.name,
        clock() - begun,
        next((a.candidate for a in attempts if a.outcome == "ok"), ""),
        reply.text,
        reply.usage.total_tokens,
        _dollars(sum(costs)) if costs else None,
        tuple(f"{d.kind}: {d.detail}" for d in reply.deviations),
    )


def misses(thresholds: Thresholds, answers: Sequence[Answered]) -> list[str]:
    """Return which thresholds the answers miss; nothing asked misses none."""
    if not answers:
        return []
    found = []
    good = [a.seconds for a in answers if not a.error]
    slowest = max(good, default=0.0) * 1000
    whole = sum(a.seconds for a in answers)
    rate = len(good) / whole if whole > 0 else float("inf")
    failed = 1 - len(good) / len(answers)
    most_ms, least = thresholds.max_latency_ms, thresholds.min_throughput_rps
    if most_ms is not None and slowest > most_ms:
        found.append(f"the slowest answer took {slowest:.0f} ms; at most {most_ms:g} are allowed")
    if least is not None and rate < least:
        found.append(f"{rate:.3g} answers per second; at least {least:g} are wanted")
    if thresholds.max_error_rate is not None and failed > thresholds.max_error_rate:
        found.append(f"{failed:.0%} failed; at most {thresholds.max_error_rate:.0%} may")
    return found
