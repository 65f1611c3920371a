"""The language of routing conditions: `input.length > 2000 and not urgent`.

Knows nothing about requests: it is asked with `Facts`. A condition is parsed once, with its types, so
that asking it can never fail; nothing is ever run as code. Grammar, loosest first:

    condition := condition "or" condition | condition "and" condition | "not" condition | check
    check     := value [("==" | "!=" | "<" | "<=" | ">" | ">=") value]
    value     := number | text in quotes | true | false | name | name ".contains(" text {"," text} ")"
               | "(" condition ")"
    name      := input.length (characters of all messages) | input.tokens (estimated) | input.turns | input.model | input.text
               | input.is_code | input.requires_vision | input.requires_tools | input.requires_json
               | tags | any other word: true when it is one of the request's tags

`input` and `input.text` are the user's last message. `contains` ignores case; of several texts one is enough; `tags.contains("x")` looks for a whole tag.
`&&`, `||` and `!` are accepted too. "<" and its kin compare numbers, "==" values of one type.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from stead.config.rule_words import NAMES, Ask, Facts, Kind, Value
from stead.core.errors import ConfigError
from stead.core.suggest import nearest

MAX_LENGTH = 1000  # characters of a condition; people write dozens
MAX_DEPTH = 32  # brackets and negations inside each other

_COMPARE: dict[str, Callable[[Value, Value], bool]] = {
    "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)(?![\w.])|(?P<text>\"[^\"]*\"|'[^']*')"
    r"|(?P<word>[A-Za-z_][\w-]*(?:\.[A-Za-z_]\w*)*)|(?P<sign>==|!=|<=|>=|&&|\|\||[<>!(),]))",
    re.ASCII,
)
_SAME = {"&&": "and", "||": "or", "!": "not"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition. `holds` never raises."""

    source: str
    _ask: Ask

    def holds(self, facts: Facts) -> bool:
        """Say whether the condition is true of a request."""
        return self._ask(facts) is True


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "number", "text", "word", "sign" or "end"
    text: str
    column: int  # from 1


@lru_cache(maxsize=512)
def parse(source: str) -> Condition:
    """Parse and check a condition.

    Raises: ConfigError("bad-condition") with the column.
    """
    if len(source) > MAX_LENGTH:
        raise ConfigError(
            "bad-condition", f"a condition of {len(source)} characters (at most {MAX_LENGTH})"
        )
    return Condition(source, _Parser(source).whole())


class _Parser:
    """Recursive descent; every step returns the type of what it read and how to ask for it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = list(self._cut())
        self._at = 0
        self._depth = 0

    def _cut(self) -> list[_Token]:
        found, at = [], 0
        end = len(self._source.rstrip())
        while at < end:
            match = _TOKEN.match(self._source, at)
            if match is None or match.lastgroup is None:
                start = at + len(self._source[at:]) - len(self._source[at:].lstrip())
                self._fail(start + 1, f"cannot read {self._source[start : start + 20]!r}")
            text = match[match.lastgroup]
            found.append(
                _Token(match.lastgroup, _SAME.get(text, text), match.start(match.lastgroup) + 1)
            )
            at = match.end()
        return [*found, _Token("end", "the end", end + 1)]

    def _fail(self, column: int, what: str) -> NoReturn:
        raise ConfigError(
            "bad-condition",
            f"{what} at column {column} of the condition {self._source!r}",
            column=column,
        )

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> _Token | None:
        token = self._next
        if token.kind in ("word", "sign") and token.text in texts:
            self._at += 1
            return token
        return None

    def _expect(self, text: str) -> None:
        if self._take(text) is None:
            self._fail(self._next.column, f"expected {text!r}, found {self._next.text!r}")

    def whole(self) -> Ask:
        ask = self._switch(self._either)
        if self._next.kind != "end":
            self._fail(self._next.column, f"expected and, or or the end, found {self._next.text!r}")
        return ask

    def _switch(self, read: "Callable[[], tuple[Kind, Ask]]") -> Ask:
        """Read something that must be true or false."""
        column = self._next.column
        kind, ask = read()
        if kind != "switch":
            self._fail(column, f"{kind} is neither true nor false")
        return ask

    def _either(self) -> tuple[Kind, Ask]:
        kind, first = self._both()
        asks = [first]
        while (token := self._take("or")) is not None:
            self._check_left(kind, token)
            asks.append(self._switch(self._both))
        return (kind, first) if len(asks) == 1 else ("switch", _any(tuple(asks)))

    def _both(self) -> tuple[Kind, Ask]:
        kind, first = self._negated()
        asks = [first]
        while (token := self._take("and")) is not None:
            self._check_left(kind, token)
            asks.append(self._switch(self._negated))
        return (kind, first) if len(asks) == 1 else ("switch", _all(tuple(asks)))

    def _check_left(self, kind: Kind, token: _Token) -> None:
        if kind != "switch":
            self._fail(token.column, f"{kind} before {token.text!r} is neither true nor false")

    def _negated(self) -> tuple[Kind, Ask]:
        if self._take("not") is None:
            return self._check()
        self._deeper()
        ask = self._switch(self._negated)
        self._depth -= 1
        return "switch", lambda facts: not ask(facts)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(self._next.column, f"more than {MAX_DEPTH} levels")

    def _check(self) -> tuple[Kind, Ask]:
        column = self._next.column
        kind, left = self._value()
        token = self._take(*_COMPARE)
        if token is None:
            return kind, left
        other, right = self._value()
        if kind != other or kind == "tags" or (kind != "number" and token.text not in ("==", "!=")):
            self._fail(column, f"{kind} {token.text} {other} cannot be compared")
        compare = _COMPARE[token.text]
        return "switch", lambda facts: compare(left(facts), right(facts))

    def _value(self) -> tuple[Kind, Ask]:
        token = self._next
        self._at += token.kind != "end"
        if token.kind == "number":
            number = float(token.text)
            return "number", lambda _: number
        if token.kind == "text":
            text = token.text[1:-1]
            return "text", lambda _: text
        if token.text == "(" and token.kind == "sign":
            self._deeper()
            found = self._either()
            self._depth -= 1
            self._expect(")")
            return found
        if token.kind == "word" and token.text not in ("and", "or", "not"):
            return self._name(token)
        self._fail(token.column, f"expected a value, found {token.text!r}")

    def _name(self, token: _Token) -> tuple[Kind, Ask]:
        name = token.text
        if name in ("true", "false"):
            return "switch", lambda _: name == "true"
        if name.endswith(".contains"):
            return self._contains(token, name.removesuffix(".contains"))
        if name in NAMES:
            return NAMES[name]
        if "." in name:
            self._unknown(token, name)
        return "switch", lambda facts: name in facts.tags

    def _unknown(self, token: _Token, name: str) -> NoReturn:
        near = nearest(name, NAMES)
        ask = f", did you mean {near!r}?" if near is not None else ""
        self._fail(token.column, f"there is no {name!r}{ask}")

    def _contains(self, token: _Token, name: str) -> tuple[Kind, Ask]:
        kind, inner = NAMES.get(name, (None, None))
        if inner is None or kind not in ("text", "tags"):
            self._unknown(token, token.text if inner is not None else name)
        self._expect("(")
        texts = [self._text()]
        while self._take(",") is not None:
            texts.append(self._text())
        self._expect(")")
        if kind == "tags":
            tags = frozenset(texts)
            return "switch", lambda facts: not tags.isdisjoint(facts.tags)
        return "switch", _within(inner, tuple(t.casefold() for t in texts))

    def _text(self) -> str:
        token = self._next
        if token.kind != "text":
            self._fail(token.column, f"expected a text in quotes, found {token.text!r}")
        self._at += 1
        return token.text[1:-1]


def _any(asks: tuple[Ask, ...]) -> Ask:
    return lambda facts: any(ask(facts) is True for ask in asks)


def _all(asks: tuple[Ask, ...]) -> Ask:
    return lambda facts: all(ask(facts) is True for ask in asks)


def _within(inner: Ask, texts: tuple[str, ...]) -> Ask:
    def ask(facts: Facts) -> bool:
        whole = str(inner(facts)).casefold()
        return any(text in whole for text in texts)

    return ask
