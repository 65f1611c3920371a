"""A Backend that calls tools: parallel calls, streamed in pieces, after sealed reasoning."""

from stead.core.errors import NotFound, RateLimited
from stead.inference.backends.echo import Echo
from stead.messages import (
    Choice,
    Chunk,
    Message,
    Reply,
    Thought,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)

SEAL = Thought("anthropic", "sealed", "two lookups")
CALLS = (
    ToolCall("call_a", "weather", '{"city": "Oslo", "unit": "°C"}'),
    ToolCall("call_b", "weather", '{"city": "Rome"}'),
)
USAGE = Usage(20, 9, 5, 3, 2)


class Agent(Echo):
    """Asked with tools it calls two; told the results it says them; the model `limited` refuses.

    `seen` holds the requests; after the second chunk the model `broken` fails.
    """

    def __init__(self, clock=lambda: 7):
        super().__init__("agent", clock=clock)
        self.seen = []

    def _check(self, request):
        self.seen.append(request)
        if request.model == "limited":
            raise RateLimited("rate-limited", "slow down", retry_after_s=3)
        if request.model not in {"agent", "broken"}:
            raise NotFound("model-not-found", f"no model {request.model!r}", param="model")

    def _answer(self, request):
        results = [m.text for m in request.messages if m.role == "tool"]
        if results:
            return Message("assistant", "It is " + " and ".join(results)), "stop"
        if request.tools and request.tool_choice != "none":
            return Message(
                "assistant", "Let me see.", tool_calls=CALLS, reasoning=SEAL.text, thoughts=(SEAL,)
            ), "tool_calls"
        limit = request.sampling.max_tokens
        words = request.messages[-1].text.split(" ")
        if limit is not None and len(words) > limit:
            return Message("assistant", " ".join(words[:limit])), "length"
        return Message("assistant", " ".join(words)), "stop"

    async def generate(self, request, deadline=None):
        self._check(request)
        message, finish = self._answer(request)
        logprobs = ()
        if request.sampling.logprobs is not None:
            logprobs = (TokenLogprob(message.text, -0.5, None, (("b", -1.0),)),)
        choice = Choice(0, message, finish, logprobs)
        return Reply(id="r1", model="agent", created=7, choices=(choice,), usage=USAGE)

    async def stream(self, request, deadline=None):
        self._check(request)
        message, finish = self._answer(request)
        head = {"id": "r1", "model": "agent", "created": 7}
        if message.reasoning:
            yield Chunk(**head, reasoning=message.reasoning)
            yield Chunk(**head, thought=SEAL)
        for piece in (message.text[:3], message.text[3:]):
            yield Chunk(**head, text=piece)
        if request.model == "broken":
            raise RateLimited("rate-limited", "slow down", retry_after_s=3)
        for i, call in enumerate(message.tool_calls):
            yield Chunk(**head, tool_calls=(ToolCallDelta(i, call.id, call.name),))
            for start in range(0, len(call.arguments), 4):
                part = ToolCallDelta(i, arguments=call.arguments[start : start + 4])
                yield Chunk(**head, tool_calls=(part,))
        yield Chunk(**head, finish_reason=finish)
        yield Chunk(**head, usage=USAGE)
