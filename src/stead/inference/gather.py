"""A stream as a whole answer, and a whole answer as a stream.

Knows nothing about protocols or why one becomes the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stead.messages import (
    Choice,
    Chunk,
    Deviation,
    FinishReason,
    Message,
    Reply,
    Thought,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Answer:
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    thoughts: list[Thought] = field(default_factory=list)
    finish: FinishReason | None = None
    stop_text: str | None = None

    def add(self, chunk: Chunk) -> None:
        if chunk.text:
            self.text.append(chunk.text)
        if chunk.reasoning:
            self.reasoning.append(chunk.reasoning)
        for delta in chunk.tool_calls:
            call = self.calls.setdefault(delta.index, _Call())
            call.id = call.id if delta.id is None else delta.id
            call.name = call.name if delta.name is None else delta.name
            call.arguments.append(delta.arguments)
        if chunk.thought is not None:
            self.thoughts.append(chunk.thought)
        self.logprobs += chunk.logprobs
        if chunk.finish_reason is not None:
            self.finish, self.stop_text = chunk.finish_reason, chunk.stop_text

    def choice(self, index: int, finish: FinishReason) -> Choice:
        calls = tuple(
            ToolCall(c.id, c.name, "".join(c.arguments)) for _, c in sorted(self.calls.items())
        )
        text = "".join(self.text)
        message = Message(
            "assistant",
            None if calls and not text else text,
            tool_calls=calls,
            reasoning="".join(self.reasoning) if self.reasoning else None,
            thoughts=tuple(self.thoughts),
        )
        return Choice(index, message, finish, tuple(self.logprobs), self.stop_text)


class Gathered:
    """Collects the chunks of one stream."""

    def __init__(self) -> None:
        self._head: Chunk | None = None
        self._answers: dict[int, _Answer] = {}
        self._usage = Usage()
        self._deviations: dict[Deviation, None] = {}

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk."""
        if self._head is None:
            self._head = chunk
        if chunk.usage is not None:
            self._usage = chunk.usage
        self._deviations.update(dict.fromkeys(chunk.deviations))
        has_content = chunk.text or chunk.reasoning or chunk.tool_calls or chunk.logprobs
        if (
            has_content
            or chunk.thought is not None
            or chunk.role is not None
            or chunk.finish_reason is not None
        ):
            self._answers.setdefault(chunk.index, _Answer()).add(chunk)

    def reply(self) -> Reply | None:
        """Return the whole answer; None while a choice has not said why it ended."""
        choices = []
        for index, answer in sorted(self._answers.items()):
            if answer.finish is None:
                return None
            choices.append(answer.choice(index, answer.finish))
        if self._head is None or not choices:
            return None
        return Reply(
            id=self._head.id,
            model=self._head.model,
            created=self._head.created,
            choices=tuple(choices),
            usage=self._usage,
            deviations=tuple(self._deviations),
        )


def replay(reply: Reply) -> Iterator[Chunk]:
    """Yield a whole answer as a stream: a piece per choice, the end of each, then the usage.

    Sealed reasoning comes before that piece, seal by seal.
    """

    def piece(index: int, **fields: Any) -> Chunk:  # Any: the fields of Chunk
        return Chunk(id=reply.id, model=reply.model, created=reply.created, index=index, **fields)

    for choice in reply.choices:
        message = choice.message
        for thought in message.thoughts:
            yield piece(choice.index, reasoning=thought.text, thought=thought)
        plain = None if message.thoughts else message.reasoning
        yield piece(
            choice.index,
            role="assistant",
            text=message.text,
            reasoning="" if plain is None else plain,
            tool_calls=tuple(
                ToolCallDelta(i, c.id, c.name, c.arguments)
                for i, c in enumerate(message.tool_calls)
            ),
            logprobs=choice.logprobs,
            deviations=reply.deviations,
        )
    for choice in reply.choices:
        yield piece(
            choice.index,
            finish_reason=choice.finish_reason,
            stop_text=choice.stop_text,
            usage=reply.usage if choice is reply.choices[-1] else None,
        )
