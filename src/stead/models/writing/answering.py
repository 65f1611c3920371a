"""Finished and growing answers as replies and chunks: text, function calls, log-probabilities, usage.

Knows nothing about computing. Streamed and whole answers go through the same parser, so they say the same.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from stead.data.tokenizer import TextTokenizer
from stead.messages import (
    Choice,
    Chunk,
    FinishReason,
    GenerateRequest,
    Message,
    Reply,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from stead.models.writing.detokenize import Decode
from stead.models.writing.prompting import Asked
from stead.models.writing.row import Completion
from stead.models.writing.sample import TopTokens
from stead.models.writing.tool_calls import Event, Format, ToolParser, gather

_MARKS = ("[TOOL_CALLS]", "[ARGS]", "<tool_call>", "</tool_call>")


@dataclass(frozen=True, slots=True)
class Answerer:
    """Makes the answers to one request; `model` is who answers, `prefix` what was written for it."""

    asked: Asked
    model: str
    created: int
    tokenizer: TextTokenizer
    form: Format | None = None
    prefix: str = ""

    @property
    def request(self) -> GenerateRequest:
        """The request that is answered."""
        return self.asked.request

    def reply(self, found: Sequence[Completion], cached: int = 0) -> Reply:
        """Return the whole answer."""
        choices = tuple(self._choice(i, one) for i, one in enumerate(found))
        count = sum(len(one.ids) for one in found)
        return self._envelope(choices, Usage(len(self.asked.ids), count, cached))

    def scored(self, values: Sequence[float]) -> Reply:
        """Return log-probabilities of the request's own tokens."""
        asked = self.asked
        logprobs = tuple(
            self.logprob(asked.ids[p], value, ())
            for p, value in zip(asked.scored, values, strict=True)
        )
        text = self.tokenizer.decode([asked.ids[p] for p in asked.scored])
        choice = Choice(0, Message(role="assistant", content=text), "length", logprobs)
        return self._envelope((choice,), Usage(len(asked.ids)))

    def echo(self) -> str:
        """Return what of the prompt belongs to the answer's text."""
        if self.request.echo and self.request.messages is None:
            return self.tokenizer.decode(self.asked.ids)
        return ""

    def speaker(self) -> "Speaker":
        """Return what turns one streamed choice's text into text and calls."""
        return Speaker(None if self.form is None else ToolParser(self.form), self.prefix)

    def logprob(self, token: int, logprob: float, top: TopTokens) -> TokenLogprob:
        """Return a token's log-probability with texts for ids."""

        def text(i: int) -> str:
            return self.tokenizer.decode([i], skip_special=False)

        return TokenLogprob(text(token), logprob, token, tuple((text(i), v) for i, v in top))

    def _choice(self, index: int, one: Completion) -> Choice:
        speaker = self.speaker()
        events = [*speaker.feed(one.text), *speaker.finish()]
        text, calls = gather(events)
        content = None if calls and not text else self.echo() + text
        return Choice(
            index,
            Message(role="assistant", content=content, tool_calls=calls),
            speaker.reason(one.finish_reason),
            tuple(map(self.logprob, one.ids, one.logprobs, one.top)),
        )

    def _envelope(self, choices: tuple[Choice, ...], usage: Usage) -> Reply:
        return Reply(
            id=new_id(self.request),
            model=self.model,
            created=self.created,
            choices=choices,
            usage=usage,
            deviations=self.asked.deviations,
        )


class Speaker:
    """One choice's text on its way out."""

    def __init__(self, parser: ToolParser | None, prefix: str) -> None:
        self._parser = parser
        if parser is not None and prefix:
            parser.feed(prefix)

    def feed(self, text: str) -> list[Event]:
        """Take more text; return what is certain."""
        if self._parser is None:
            return [text] if text else []
        return self._parser.feed(text)

    def finish(self) -> list[Event]:
        """Return the rest."""
        return [] if self._parser is None else self._parser.finish()

    def reason(self, reason: FinishReason) -> FinishReason:
        """Return why the choice ended: a call, where there was one."""
        called = self._parser is not None and self._parser.calls > 0
        return "tool_calls" if called and reason == "stop" else reason


def parts(events: Sequence[Event]) -> tuple[str, tuple[ToolCallDelta, ...]]:
    """Return the text and the call pieces of some events."""
    text = "".join(e for e in events if isinstance(e, str))
    return text, tuple(e for e in events if not isinstance(e, str))


def is_worth_sending(chunk: Chunk) -> bool:
    """Say whether a chunk says anything."""
    return bool(chunk.text or chunk.tool_calls or chunk.logprobs or chunk.finish_reason)


def new_id(request: GenerateRequest) -> str:
    """Return an id for an answer."""
    return ("cmpl-" if request.messages is None else "chatcmpl-") + uuid.uuid4().hex


def marked_decoder(plain: Decode, tokenizer: TextTokenizer, form: Format | None) -> Decode:
    """Return ids → text; the marks of calls stay, also where the tokenizer calls them special."""
    marks = {tokenizer.id(mark): mark for mark in _MARKS}
    kept = {i: m for i, m in marks.items() if i is not None and not tokenizer.decode([i])}
    if form is None or not kept:
        return plain

    def decode(ids: Sequence[int]) -> str:
        found, begin = "", 0
        for at, token in enumerate(ids):
            if token in kept:
                found += plain(ids[begin:at]) + kept[token]
                begin = at + 1
        return found + plain(ids[begin:])

    return decode
