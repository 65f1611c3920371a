"""One try at one endpoint while it runs, kept as an `Attempt` in the request's call record.

Knows nothing about why there are several. Tokens that no endpoint reported are estimated and marked so.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from stead.core.errors import SteadError
from stead.inference.candidate import Priced
from stead.inference.tokens import bytes_tokens, prompt_tokens, size_bytes
from stead.messages import (
    Attempt,
    Chunk,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    Reply,
    Usage,
)

_NOTHING = Usage()
Outcome = Literal["ok", "failed", "cancelled", "cut"]


class Try:
    """Writes one `Attempt`: in the record from the start, complete at the end.

    `attempt.outcome` is "failed" until something better is known. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        name: str,
        request: GenerateRequest | EmbedRequest,
        prices: Priced | None,
        clock: Callable[[], float],
    ) -> None:
        self.attempt = Attempt(candidate=name, model=request.model)
        self._request = request
        self._prices = prices
        self._clock = clock
        self._begun = clock()
        self._done = False
        self._streams = False
        self._usage: Usage | None = None
        self._bytes = 0
        if request.call is not None:
            request.call.attempts.append(self.attempt)

    def replied(self, reply: Reply) -> None:
        """Record a whole answer."""
        for choice in reply.choices if reply.usage == _NOTHING else ():
            message = choice.message
            self._bytes += size_bytes(message.text) + size_bytes(message.reasoning or "")
            self._bytes += sum(size_bytes(c.arguments) for c in message.tool_calls)
        self._end("ok", None, reply.usage)

    def embedded(self, reply: EmbedReply) -> None:
        """Record vectors."""
        self._end("ok", None, reply.usage)

    def counted(self) -> None:
        """Record an answer that is not charged."""
        self._done = True
        self.attempt.outcome = "ok"
        self.attempt.seconds = self._clock() - self._begun

    def began(self, head: Sequence[Chunk]) -> None:
        """Record the first content of a stream."""
        self._streams = True
        self.attempt.first_s = self._clock() - self._begun
        for chunk in head:
            self.chunk(chunk)

    def chunk(self, chunk: Chunk) -> None:
        """Take note of a piece."""
        if chunk.usage is not None:
            self._usage = chunk.usage
        self._bytes += size_bytes(chunk.text)
        if chunk.reasoning:
            self._bytes += size_bytes(chunk.reasoning)
        if chunk.tool_calls:
            self._bytes += sum(size_bytes(c.arguments) for c in chunk.tool_calls)

    def streamed(self) -> None:
        """Record the end of a whole stream."""
        self._end("ok", None, self._usage)

    def failed(self, error: SteadError) -> None:
        """Record a try that gave nothing."""
        self._done = True
        self.attempt.code = error.code
        self.attempt.seconds = self._clock() - self._begun

    def cut(self, error: SteadError) -> None:
        """Record a stream that broke off after content."""
        self._end("cut", error.code, self._usage)

    def left(self) -> None:
        """Record that nobody waits any more, unless the try is over already."""
        if self._done:
            return
        if self._streams:
            self._end("cancelled", None, self._usage)
            return
        self._done = True
        self.attempt.outcome = "cancelled"
        self.attempt.seconds = self._clock() - self._begun

    def _end(self, outcome: Outcome, code: str | None, usage: Usage | None) -> None:
        self._done = True
        attempt = self.attempt
        attempt.outcome = outcome
        attempt.code = code
        attempt.seconds = self._clock() - self._begun
        reported = usage is not None and usage != _NOTHING
        attempt.estimated = not reported
        attempt.usage = usage if reported else self._estimate()
        if self._prices is not None and attempt.usage is not None:
            attempt.cost = self._prices.cost(attempt.usage)

    def _estimate(self) -> Usage:
        return Usage(prompt_tokens(self._request), bytes_tokens(self._bytes))
