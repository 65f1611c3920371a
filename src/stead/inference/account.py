"""What a request used, from the attempts that were made for it; what nobody reported is counted here.

Knows nothing about ledgers, limits or vendors. `Seen` watches the answer go by; `total` then completes the
attempts in place (usage, cost) and adds them up. Doing it twice changes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from stead.inference.prices import Prices
from stead.inference.tokens import size_bytes, text_tokens
from stead.messages import (
    Attempt,
    Chunk,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    ImagePart,
    Message,
    Reply,
    Usage,
)

Request = GenerateRequest | EmbedRequest
CountText = Callable[[str], int]
PriceOf = Callable[[Attempt], Prices | None]

_PER_MESSAGE = 16  # role and separators in the widest of the common chat templates
_PER_IMAGE = 4096  # above the largest price of one picture among the vendors' tables
_BILLED = ("ok", "cut", "cancelled")


def most_tokens(request: Request) -> int:
    """Return a number of prompt tokens that is never too small.

    No byte-level vocabulary makes more tokens of a text than it has bytes of UTF-8. Token ids count exactly.
    """
    if isinstance(request, EmbedRequest):
        return sum(
            _PER_MESSAGE + size_bytes(t) if isinstance(t, str) else len(t) for t in request.input
        )
    extra = 0
    if request.tools or request.response_format is not None:
        extra = len(msgspec.json.encode((request.tools, request.response_format)))
    if request.messages is None:
        prompt = request.prompt
        return extra + (size_bytes(prompt) if isinstance(prompt, str) else len(prompt or ()))
    return extra + sum([_message(m) for m in request.messages])


def _message(message: Message) -> int:
    content = message.content
    if isinstance(content, str) and not message.tool_calls and message.reasoning is None:
        names = 0 if message.name is None else size_bytes(message.name)
        return _PER_MESSAGE + size_bytes(content) + names
    calls = sum(size_bytes(c.id + c.name + c.arguments) for c in message.tool_calls)
    parts = message.content if isinstance(message.content, tuple) else ()
    images = sum(_PER_IMAGE for p in parts if isinstance(p, ImagePart))
    names = size_bytes("" if message.name is None else message.name)
    thought = size_bytes("" if message.reasoning is None else message.reasoning)
    return _PER_MESSAGE + size_bytes(message.text) + calls + images + names + thought


class Seen:
    """What came back for one request: the usage its answer reports, and its text."""

    __slots__ = ("_count", "_parts", "model", "request", "usage")

    def __init__(self, request: Request, count: CountText | None = None) -> None:
        self.request = request
        self.model = request.model
        self.usage: Usage | None = None
        self._count = text_tokens if count is None else count
        self._parts: list[str] = []

    @property
    def begun(self) -> bool:
        """Say whether any content has come."""
        return bool(self._parts)

    def reply(self, reply: Reply) -> None:
        """Note a whole answer."""
        self.model = reply.model
        self._report(reply.usage)
        if self.usage is None:
            for choice in reply.choices:
                calls = "".join(c.name + c.arguments for c in choice.message.tool_calls)
                thought = choice.message.reasoning
                self._parts += [choice.message.text, "" if thought is None else thought, calls]

    def vectors(self, reply: EmbedReply) -> None:
        """Note an answer in vectors."""
        self.model = reply.model
        self._report(reply.usage)

    def chunk(self, chunk: Chunk) -> None:
        """Note a piece of a stream."""
        if chunk.text:
            self._parts.append(chunk.text)
        if chunk.reasoning:
            self._parts.append(chunk.reasoning)
        if chunk.tool_calls:
            self._parts += [c.arguments for c in chunk.tool_calls if c.arguments]
        if chunk.usage is not None:
            self.model = chunk.model
            self._report(chunk.usage)

    def _report(self, usage: Usage) -> None:
        if is_usable(usage):
            self.usage = usage

    def estimate(self) -> Usage:
        """Count what nobody has reported: the prompt, and the answer so far."""
        prompt = sum(self._count(t) for t in _texts(self.request))
        return Usage(prompt, self._count("".join(self._parts)))


def is_usable(usage: Usage | None) -> bool:
    """Say whether a report can be believed: something was counted, and nothing below zero."""
    if usage is None:
        return False
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return min(counts) >= 0 and max(counts) > 0


def _texts(request: Request) -> list[str]:
    if isinstance(request, EmbedRequest):
        return [t if isinstance(t, str) else "0 " * len(t) for t in request.input]
    if request.messages is not None:
        return [m.text for m in request.messages]
    return [request.prompt if isinstance(request.prompt, str) else "0 " * len(request.prompt or ())]


@dataclass(frozen=True, slots=True)
class Total:
    """All attempts of one request together. `cost` in picodollars, of those whose price is known."""

    usage: Usage
    cost: int
    unpriced: int  # attempts that used tokens at an unknown price
    estimated: bool


def total(attempts: Sequence[Attempt], seen: Seen, price_of: PriceOf | None = None) -> Total:
    """Complete the attempts and add them up; the last one is the one whose answer was seen."""
    prompt = answer = cached = reasoning = written = kept = cost = unpriced = 0
    estimated = False
    for attempt in attempts:
        _complete(attempt, seen if attempt is attempts[-1] else None, price_of)
        usage = attempt.usage
        if usage is None:
            continue
        prompt += usage.prompt_tokens
        answer += usage.completion_tokens
        cached += usage.cached_tokens
        reasoning += usage.reasoning_tokens
        written += usage.cache_write_tokens
        kept += usage.long_write_tokens
        estimated = estimated or attempt.estimated
        if attempt.cost is None:
            unpriced += 1
        else:
            cost += attempt.cost
    return Total(Usage(prompt, answer, cached, reasoning, written, kept), cost, unpriced, estimated)


def _complete(attempt: Attempt, seen: Seen | None, price_of: PriceOf | None) -> None:
    if attempt.usage is not None and not is_usable(attempt.usage):
        attempt.usage = attempt.cost = None
    if attempt.usage is None and seen is not None and attempt.outcome in _BILLED:
        attempt.estimated = seen.usage is None
        attempt.usage = seen.estimate() if seen.usage is None else seen.usage
        attempt.cost = None
    if attempt.usage is not None and attempt.cost is None and price_of is not None:
        prices = price_of(attempt)
        attempt.cost = None if prices is None else prices.cost(attempt.usage)
