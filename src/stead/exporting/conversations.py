"""Conversations that show where renderers and tokenizers part: built in, from a seed.

Knows nothing about models or templates. Systems, several turns, unicode, white space at every edge,
code, numbers, empty texts, tools.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from stead.config.run import DataSection
from stead.core import seeds
from stead.core.errors import DataError
from stead.data.clean import Tally
from stead.data.row import Row
from stead.data.rows import Loaded, load
from stead.messages import Message, ToolCall

_TOOL: dict[str, Any] = {  # Any: JSON schema
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Say the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "its name"}},
            "required": ["city"],
        },
    },
}
_SYSTEMS = ("You are a helpful assistant.", "Réponds en français, brièvement.", "Be\nterse.  ")
_ASKS = (
    "What is 12345 + 678.90?",
    "  leading and trailing spaces   ",
    "Line one\nline two\n\n\tindented\r\nlast",
    "Straße, naïve, e\u0301 and é, Ωmega, \u00a0nbsp",
    "你好，世界！今天天气怎么样？",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643 and \u0928\u092e\u0938\u094d\u0924\u0947",
    "👍🏽 👨\u200d👩\u200d👧 🎉🎉🎉",
    "def f(x):\n    return {'a': x ** 2}  # I'm WE'LL they'd",
    "x=1;y=22;z=333;w=4444;v=55555 1,000,000 3.14159e-10",
    "Translate: \"It's o'clock\" -> <b>bold</b> & {{ braces }} {% tags %}",
    "a" * 70,
    "?!?!?!... --- ___ ### $$$ %%% @@@ ~~~",
)
_ANSWERS = (
    "The answer is 42.",
    "Sure:\n\n1. first\n2. second\n",
    "Natürlich — ça va. 好的。",
    '{"status": "ok", "n": [1, 2, 3]}',
    "I'm sorry, I can't say.",
    " spaced ",
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages with the tools they may use; `open` ones wait for an answer."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()  # Any: JSON schema of each function

    @property
    def is_open(self) -> bool:
        """Whether the next turn is the assistant's."""
        return self.messages[-1].role != "assistant"


def built_in(count: int = 24, *, with_tools: bool = False, seed: int = 0) -> list[Conversation]:
    """Return `count` conversations; the same for the same arguments.

    Every fourth has tools when the template takes them.
    """
    return [_one(i, seed, with_tools=with_tools and i % 4 == 3) for i in range(count)]


def _one(number: int, seed: int, *, with_tools: bool) -> Conversation:
    def pick(name: str, of: tuple[str, ...]) -> str:
        return of[seeds.stream(seed, number, name) % len(of)]

    messages = []
    if number % 3 == 1:
        messages.append(Message("system", pick("system", _SYSTEMS)))
    for turn in range(1 + number % 3):
        ask = _ASKS[number % len(_ASKS)] if turn == 0 else pick(f"ask-{turn}", _ASKS)
        messages.append(Message("user", ask))
        messages.append(Message("assistant", pick(f"answer-{turn}", _ANSWERS)))
    if with_tools:
        return Conversation((*messages[:-1], *_tool_turns(number)), (_TOOL,))
    return Conversation(tuple(messages if number % 2 else messages[:-1]))


def _tool_turns(number: int) -> tuple[Message, ...]:
    call = ToolCall(f"call{number:05d}", "weather", '{"city": "Zürich"}')
    return (
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", '{"celsius": 21}', name="weather", tool_call_id=call.id),
        Message("assistant", "It is 21 °C in Zürich."),
    )


def from_file(path: Path, limit: int) -> list[Conversation]:
    """Return the first `limit` conversations of a data file, read as training reads it.

    Raises: DataError("no-conversations") when its rows hold none.
    """
    rows = load(DataSection(path=str(path)), Loaded(Tally("skip")))
    found = list(islice(_conversations(rows), limit))
    if not found:
        raise DataError("no-conversations", f"{str(path)!r} holds no conversation to compare on")
    return found


def _conversations(rows: Iterator[Row]) -> Iterator[Conversation]:
    for row in rows:
        turns = (*row.messages, *row.chosen)
        if not turns and row.text:
            turns = (Message("user", row.text[:2000]),)
        if turns:
            yield Conversation(turns, row.tools)
